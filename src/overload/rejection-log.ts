import type { Logger } from 'pino';
import type { GatewayError } from '../http/errors.ts';
import { observableCounter } from '../telemetry/instruments.ts';

/** Docker splits lines above 16 KiB. */
const MAX_TRACE_IDS_PER_LINE = 250;
const MAX_DELAY_MS = 1000;

export interface RejectionLog {
  record(error: GatewayError, traceId: string): void;
  /** Logs the rejections that are not logged yet. */
  flush(): void;
}

/** Counts rejected requests and logs their trace ids in batches: a line per request costs half as much as the rejection. */
export function createRejectionLog(log: Logger): RejectionLog {
  let total = 0;
  observableCounter(
    'campaign_gateway.overload.rejected',
    'Requests rejected because the gateway is overloaded',
    () => total,
  );
  let batch: { readonly error: GatewayError; readonly traceIds: string[]; readonly timer: NodeJS.Timeout } | undefined;

  function flush(): void {
    if (!batch) return;
    const { error, traceIds, timer } = batch;
    batch = undefined;
    clearTimeout(timer);
    const { status, code, reason } = error;
    log.warn({ status, code, reason, rejected: traceIds.length, trace_ids: traceIds.join(' ') }, 'requests rejected');
  }

  function record(error: GatewayError, traceId: string): void {
    total++;
    batch ??= { error, traceIds: [], timer: setTimeout(flush, MAX_DELAY_MS).unref() };
    batch.traceIds.push(traceId);
    if (batch.traceIds.length === MAX_TRACE_IDS_PER_LINE) flush();
  }

  return { record, flush };
}
