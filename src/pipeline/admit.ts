import type { IncomingMessage } from 'node:http';
import { GatewayError } from '../errors.ts';
import type { Exchange } from '../exchange.ts';
import { payloadTooLarge, serverLimits, targetTooLong } from '../listener.ts';

const HOST = /^(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~%!$&'()*+,;=-]*)(?::\d*)?$/;

/** What Node's parser lets through and no route should see. */
export function admit(exchange: Exchange): void {
  const { request } = exchange;
  if (request.httpVersion !== '1.1' && request.httpVersion !== '1.0') throw refuse('Send the request as HTTP/1.1.');
  checkHost(request);
  if ((request.url ?? '').length > serverLimits.targetBytes) throw targetTooLong();
  checkBody(exchange);
}

/** RFC 9112, section 3.2: exactly one Host, and one that can be one; HTTP/1.0 may go without. */
function checkHost({ headers, httpVersion, rawHeaders }: IncomingMessage): void {
  if (headers.host === undefined && httpVersion === '1.0') return;
  let count = 0;
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i] as string;
    if (name.length === 4 && name.toLowerCase() === 'host') count++;
  }
  if (count !== 1 || !HOST.test(headers.host ?? '')) throw refuse('Send exactly one valid Host header.');
}

/** A body is never read. A small one is passed over; after one whose end is not known, the connection is closed. */
function checkBody(exchange: Exchange): void {
  const { headers } = exchange.request;
  const coding = headers['transfer-encoding'];
  if (coding !== undefined || headers.expect !== undefined) exchange.mustClose = true;
  // RFC 9112, section 6.3: a body whose end cannot be told.
  if (coding !== undefined && !/(?:^|[\t ,])chunked$/i.test(coding)) throw refuse('Send the request without a body.');
  if (Number(headers['content-length'] ?? 0) <= serverLimits.bodyBytes) return;
  exchange.mustClose = true;
  throw payloadTooLarge();
}

function refuse(details: string): GatewayError {
  return new GatewayError('VALIDATION_ERROR', details, { reason: 'http' });
}
