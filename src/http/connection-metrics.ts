import type { Logger } from 'pino';
import { zeroedCounter } from '../telemetry/instruments.ts';

const dropReasons = ['max_connections', 'pipelining', 'stalled_reader'] as const;
/** Why a connection was closed without an answer. */
export type DropReason = (typeof dropReasons)[number];

const LOG_EVERY_MS = 1000;

/** Counts connections that were closed without an answer, and logs those beyond the limit: once a second, for they come in floods. */
export function createConnectionDropCounter(log: Logger): (reason: DropReason) => void {
  const count = zeroedCounter(
    'campaign_gateway.connections.dropped',
    'Connections closed without a response, by reason',
    'reason',
    dropReasons,
  );
  let dropped = 0;
  let timer: NodeJS.Timeout | undefined;
  const logDropped = () => {
    timer = undefined;
    if (dropped === 0) return;
    log.warn({ dropped }, 'connections above MAX_CONNECTIONS dropped');
    dropped = 0;
    timer = setTimeout(logDropped, LOG_EVERY_MS).unref();
  };
  return (reason) => {
    count(reason);
    if (reason !== 'max_connections') return;
    dropped++;
    if (!timer) logDropped();
  };
}
