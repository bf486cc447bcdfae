import { errorDefinitions, type GatewayError, type HeaderList } from './errors.ts';

export const ENVELOPE_CONTENT_TYPE = 'application/json; charset=utf-8';

/** The success envelope around `data`, which is JSON text already. */
export function successEnvelope(data: string, traceId: string): string {
  return `{"success":true,"data":${data},"error":null,"traceId":"${traceId}"}`;
}

export function errorEnvelope(error: GatewayError, traceId: string): string {
  const { code, details } = error;
  const { message } = errorDefinitions[code];
  return JSON.stringify({ success: false, data: null, error: { code, message, details }, traceId });
}

/** The headers of every response of the public listener. */
export function baseHeaders(traceId: string): HeaderList {
  return ['X-Trace-Id', traceId, 'Vary', 'X-API-Key, Authorization', 'X-Content-Type-Options', 'nosniff'];
}
