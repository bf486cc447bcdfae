import type { IncomingMessage } from 'node:http';
import { isIPv6 } from 'node:net';
import type { Exchange } from '../middleware/request-context.ts';
import { badRequest, bodyTooLarge, headersTooLarge, serverLimits, targetTooLong } from './server-limits.ts';

/** RFC 3986, section 3.2.2, but for addresses of a future version; its port may be empty. */
const HOST = /^(?:\[([0-9A-Fa-f:.]+)\]|(?:[A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*)(?::\d*)?$/;
const ABSOLUTE_FORM = /^https?:\/\/([^/?#]*)/i;
const SLASH = 0x2f;

/** What Node's parser lets through and no route should see. After a request that is refused here, the connection ends. */
export function checkHttpMessage(exchange: Exchange): void {
  try {
    checkMessage(exchange);
  } catch (error) {
    exchange.closeAfterResponse = true;
    throw error;
  }
}

function checkMessage(exchange: Exchange): void {
  const { request } = exchange;
  const { httpVersion, url = '' } = request;
  if (httpVersion !== '1.1' && httpVersion !== '1.0') throw badRequest('Send the request as HTTP/1.1.');
  if (request.rawHeaders.length > 2 * serverLimits.headers) throw headersTooLarge();
  checkHost(request);
  if (url.length > serverLimits.targetBytes) throw targetTooLong();
  if (url.charCodeAt(0) !== SLASH) checkAuthority(url);
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
  if (count !== 1 || !isHost(headers.host ?? '')) throw badRequest('Send exactly one valid Host header.');
}

function isHost(text: string): boolean {
  const match = HOST.exec(text);
  return match !== null && (match[1] === undefined || isIPv6(match[1]));
}

/** RFC 9110, sections 4.2.1 and 4.2.4: a URI without a host is invalid, and one with userinfo is taken for an attempt to deceive. */
function checkAuthority(target: string): void {
  const authority = ABSOLUTE_FORM.exec(target)?.[1];
  if (authority === undefined) return;
  if (/^(?::|$)/.test(authority) || !isHost(authority)) throw badRequest('Send the path alone as the request target.');
}

/** A body is never read. A small one is passed over; after one whose end is not known, the connection is closed. */
function checkBody(exchange: Exchange): void {
  const { headers, httpVersion } = exchange.request;
  const coding = headers['transfer-encoding'];
  if (mustCloseAfter(exchange.request)) exchange.closeAfterResponse = true;
  // RFC 9112, sections 6.1 and 6.3: a body whose end cannot be told, or that earlier recipients may have told otherwise.
  if (coding !== undefined && (coding.toLowerCase() !== 'chunked' || httpVersion !== '1.1')) {
    throw badRequest('Send the request without a body.');
  }
  if (Number(headers['content-length'] ?? 0) > serverLimits.bodyBytes) throw bodyTooLarge();
}

/** Whether no other request can follow: after an upgrade that is ignored Node loses what else came in the packet. */
export function mustCloseAfter({ headers }: IncomingMessage): boolean {
  return headers['transfer-encoding'] !== undefined || headers.expect !== undefined || headers.upgrade !== undefined;
}
