import type { Logger } from 'pino';
import type { GatewayError } from '../http/errors.ts';
import { observableCounter } from '../telemetry/instruments.ts';

/** So many trace ids fit into a line that nothing breaks up on its way (Docker does, at 16 KiB). */
const TRACE_IDS_PER_LINE = 250;
const FLUSH_AFTER_MS = 1000;

export interface OverloadLog {
  onStart(): void;
  onRejected(error: GatewayError, traceId: string): void;
  onEnd(): void;
}

/**
 * Tells of overload: when it begins and ends, and whom it hits. Refused requests share their log lines, which have all of
 * their trace ids: a line each would cost half as much as the refusal.
 */
export function createOverloadLog(log: Logger): OverloadLog {
  let totalRejected = 0;
  observableCounter(
    'campaign_gateway.overload.rejected',
    'Requests rejected because the gateway is overloaded',
    () => totalRejected,
  );
  let startedAt = 0;
  let rejectedBefore = 0;
  let traceIds: string[] = [];
  let timer: NodeJS.Timeout | undefined;
  const logRejected = ({ status, code, reason }: GatewayError) => {
    clearTimeout(timer);
    timer = undefined;
    const line = { status, code, reason, onRejected: traceIds.length, trace_ids: traceIds.join(' ') };
    traceIds = [];
    log.warn(line, 'requests rejected');
  };
  return {
    onStart: () => {
      startedAt = performance.now();
      rejectedBefore = totalRejected;
      log.warn('overload started: rejecting requests');
    },
    onRejected: (error, traceId) => {
      totalRejected++;
      traceIds.push(traceId);
      if (traceIds.length === TRACE_IDS_PER_LINE) logRejected(error);
      else timer ??= setTimeout(logRejected, FLUSH_AFTER_MS, error).unref();
    },
    onEnd: () => {
      const durationMs = Math.round(performance.now() - startedAt);
      log.warn({ rejected: totalRejected - rejectedBefore, duration_ms: durationMs }, 'overload ended');
    },
  };
}
