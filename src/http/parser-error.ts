import type { GatewayError } from './errors.ts';
import {
  badRequest,
  bodyTooLarge,
  headersTooLarge,
  requestTimeout,
  serverLimits,
  targetTooLong,
} from './server-limits.ts';

/** What Node's parser, or its clock, has against a request. */
export function fromParserError(error: NodeJS.ErrnoException & { rawPacket?: Buffer }): GatewayError {
  switch (error.code) {
    case 'ERR_HTTP_REQUEST_TIMEOUT':
      return requestTimeout();
    case 'HPE_HEADER_OVERFLOW':
      return isTargetTooLong(error.rawPacket) ? targetTooLong() : headersTooLarge();
    case 'HPE_CHUNK_EXTENSIONS_OVERFLOW':
      return bodyTooLarge();
    default:
      return badRequest('Malformed HTTP request.');
  }
}

/** Whether the overflow is in the request line: as far as the last packet shows it, no line has ended within the limit. */
function isTargetTooLong(packet: Buffer | undefined): boolean {
  if (!packet || !/^[A-Z]{3,20} /.test(packet.toString('latin1', 0, 21))) return false;
  const lineEnd = packet.indexOf('\n');
  return lineEnd < 0 || lineEnd > serverLimits.targetBytes;
}
