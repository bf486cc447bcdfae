import type { Logger } from 'pino';
import { counter } from '../telemetry/instruments.ts';

const dropReasons = ['max_connections', 'pipelining', 'stalled_reader'] as const;
/** Why a connection was closed without a response. */
export type DropReason = (typeof dropReasons)[number];

const LOG_EVERY_MS = 1000;

/** Counts connections closed without a response, and logs those above the limit, at most once a second. */
export function createConnectionDropCounter(log: Logger): (reason: DropReason) => void {
  const count = counter(
    'campaign_gateway.connections.dropped',
    'Connections closed without a response, by reason',
    ['reason'],
    dropReasons.map((reason) => [reason] as const),
  );
  let dropped = 0;
  const logDropped = () => {
    log.warn({ dropped }, 'connections above MAX_CONNECTIONS dropped');
    dropped = 0;
  };
  return (reason) => {
    count(reason);
    if (reason === 'max_connections' && dropped++ === 0) setTimeout(logDropped, LOG_EVERY_MS).unref();
  };
}
