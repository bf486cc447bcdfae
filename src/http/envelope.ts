import { errorDefinitions, type GatewayError, type HeaderList } from './errors.ts';

export const envelopeContentType = 'application/json; charset=utf-8';

/** The success envelope around `data` that is JSON text already. */
export function successEnvelope(data: string, traceId: string): string {
  return `{"success":true,"data":${data},"error":null,"traceId":"${traceId}"}`;
}

const ENVELOPE_OVERHEAD = successEnvelope('', '').length;

/** Its bytes: of `data` alone, which is one piece of memory, they are counted in a fraction of the time. */
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

/** An error is stored nowhere: a 404 without this may be (RFC 9111, section 4.2.2). */
export const NO_STORE_HEADERS: HeaderList = ['Cache-Control', 'no-store'];

/** What every answer of the public listener carries. */
export function baseHeaders(traceId: string): HeaderList {
  return ['X-Trace-Id', traceId, 'Vary', 'X-API-Key, Authorization', 'X-Content-Type-Options', 'nosniff'];
}
