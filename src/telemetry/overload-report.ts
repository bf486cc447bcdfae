import type { Logger } from 'pino';
import type { GatewayError } from '../errors.ts';
import { showCount } from './instruments.ts';

/** So many trace ids fit into a line that nothing breaks up on its way (Docker does, at 16 KiB). */
const REQUESTS_A_LINE = 250;
const LOG_WITHIN_MS = 1000;

export interface OverloadReport {
  began(): void;
  refused(error: GatewayError, traceId: string): void;
  ended(): void;
}

/**
 * Tells of overload: when it begins and ends, and whom it hits. Refused requests share their log lines, which have all of
 * their trace ids: a line each would cost half as much as the refusal.
 */
export function overloadReport(log: Logger): OverloadReport {
  let refusedInAll = 0;
  showCount('campaign_gateway.overload.refused', 'Requests refused because of overload', () => refusedInAll);
  let beganAt = 0;
  let refusedBefore = 0;
  let traceIds: string[] = [];
  let timer: NodeJS.Timeout | undefined;
  const logRefused = ({ status, code, reason }: GatewayError) => {
    clearTimeout(timer);
    timer = undefined;
    const line = { status, code, reason, refused: traceIds.length, trace_ids: traceIds.join(' ') };
    traceIds = [];
    log.warn(line, 'requests');
  };
  return {
    began: () => {
      beganAt = performance.now();
      refusedBefore = refusedInAll;
      log.warn('overloaded: requests beyond what can be served in time are refused');
    },
    refused: (error, traceId) => {
      refusedInAll++;
      traceIds.push(traceId);
      if (traceIds.length === REQUESTS_A_LINE) logRefused(error);
      else timer ??= setTimeout(logRefused, LOG_WITHIN_MS, error).unref();
    },
    ended: () => {
      const durationMs = Math.round(performance.now() - beganAt);
      log.warn({ refused: refusedInAll - refusedBefore, duration_ms: durationMs }, 'no longer overloaded');
    },
  };
}
