import type { Logger } from 'pino';
import { countFrom0 } from './instruments.ts';

const cutReasons = ['max_connections', 'pipelining', 'unread_answer'] as const;
/** Why a connection was closed without an answer. */
export type CutReason = (typeof cutReasons)[number];

const LOG_EVERY_MS = 1000;

/** Counts connections that were closed without an answer, and logs those beyond the limit: once a second, for they come in floods. */
export function connectionMeter(log: Logger): (reason: CutReason) => void {
  const count = countFrom0(
    'campaign_gateway.connections.cut',
    'Connections closed without an answer, by the reason',
    'reason',
    cutReasons,
  );
  let dropped = 0;
  let timer: NodeJS.Timeout | undefined;
  const tell = () => {
    timer = undefined;
    if (dropped === 0) return;
    log.warn({ dropped }, 'connections beyond MAX_CONNECTIONS were closed');
    dropped = 0;
    timer = setTimeout(tell, LOG_EVERY_MS).unref();
  };
  return (reason) => {
    count(reason);
    if (reason !== 'max_connections') return;
    dropped++;
    if (!timer) tell();
  };
}
