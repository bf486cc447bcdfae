import { errorDefinitions, type GatewayError, type HeaderList } from './errors.ts';

export const ENVELOPE_CONTENT_TYPE = 'application/json; charset=utf-8';

/** The success envelope around `data`, which is JSON text already. */
export function successEnvelope(data: string, traceId: string): string {
  return `{"success":true,"data":${data},"error":null,"traceId":"${traceId}"}`;
}

const ENVELOPE_OVERHEAD = successEnvelope('', '').length;

/** Byte length of the success envelope. Counting `data` alone is faster: it is a flat string, the concatenation a rope. */
export function successEnvelopeLength(data: string, traceId: string): number {
  return ENVELOPE_OVERHEAD + Buffer.byteLength(data) + traceId.length;
}

export function errorEnvelope(error: GatewayError, traceId: string): string {
  const { message } = errorDefinitions[error.code];
  return JSON.stringify({
    success: false,
    data: null,
    error: { code: error.code, message, details: error.details },
    traceId,
  });
}

/** The headers of every response of the public listener. */
export function baseHeaders(traceId: string): HeaderList {
  return ['X-Trace-Id', traceId, 'Vary', 'X-API-Key, Authorization', 'X-Content-Type-Options', 'nosniff'];
}
