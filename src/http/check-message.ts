import type { IncomingMessage } from 'node:http';
import { isIPv6 } from 'node:net';
import type { GatewayError } from './errors.ts';
import { badRequest, bodyTooLarge, headersTooLarge, serverLimits, targetTooLong } from './server-limits.ts';

/** RFC 3986, section 3.2.2, without addresses of future IP versions. The port may be empty. */
const HOST = /^(?:\[([0-9A-Fa-f:.]+)\]|(?:[A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*)(?::\d*)?$/;
const ABSOLUTE_FORM = /^https?:\/\/([^/?#]*)/i;
const SLASH = 0x2f;

/** Why a request that Node's parser accepts is not valid HTTP; undefined for a valid one. */
export function findMessageError(request: IncomingMessage): GatewayError | undefined {
  const { httpVersion, rawHeaders, url = '' } = request;
  if (httpVersion !== '1.1' && httpVersion !== '1.0') return badRequest('Send the request as HTTP/1.1.');
  if (rawHeaders.length > 2 * serverLimits.headers) return headersTooLarge();
  if (!hasValidHost(request)) return badRequest('Send exactly one valid Host header.');
  if (url.length > serverLimits.targetBytes) return targetTooLong();
  if (url.charCodeAt(0) !== SLASH && !isValidTarget(url))
    return badRequest('Send only the path as the request target.');
  return findBodyError(request);
}

/** RFC 9112, section 3.2: exactly one valid Host. HTTP/1.0 may omit it. */
function hasValidHost({ headers, httpVersion, rawHeaders }: IncomingMessage): boolean {
  if (headers.host === undefined && httpVersion === '1.0') return true;
  let count = 0;
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i] as string;
    if (name.length === 4 && name.toLowerCase() === 'host') count++;
  }
  return count === 1 && isHost(headers.host ?? '');
}

function isHost(text: string): boolean {
  const match = HOST.exec(text);
  return match !== null && (match[1] === undefined || isIPv6(match[1]));
}

/** RFC 9110, sections 4.2.1 and 4.2.4: a URI without a host is invalid, and one with userinfo may be an attempt to deceive. */
function isValidTarget(target: string): boolean {
  if (target === '*') return true;
  const authority = ABSOLUTE_FORM.exec(target)?.[1];
  return authority !== undefined && !/^(?::|$)/.test(authority) && isHost(authority);
}

/** No body is ever read. RFC 9112, sections 6.1 and 6.3: a body whose length is ambiguous is an error. */
function findBodyError({ headers, httpVersion }: IncomingMessage): GatewayError | undefined {
  const coding = headers['transfer-encoding'];
  if (coding !== undefined && (coding.toLowerCase() !== 'chunked' || httpVersion !== '1.1')) {
    return badRequest('Send the request without a body.');
  }
  return Number(headers['content-length'] ?? 0) > serverLimits.bodyBytes ? bodyTooLarge() : undefined;
}

/** Whether no further request can follow on this connection: its body has no known end, or Node drops pipelined data. */
export function mustCloseAfter({ headers }: IncomingMessage): boolean {
  return headers['transfer-encoding'] !== undefined || headers.expect !== undefined || headers.upgrade !== undefined;
}
