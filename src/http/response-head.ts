import { type ServerResponse, STATUS_CODES } from 'node:http';
import type { HeaderList } from './errors.ts';

/** Status line and headers, without the empty line at their end. */
export function formatHead(status: number, headers: HeaderList): string {
  let head = `HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\n`;
  for (let i = 0; i < headers.length; i += 2) head += `${headers[i]}: ${headers[i + 1]}\r\n`;
  return head;
}

/**
 * As `response.writeHead`, for headers that are text of our own throughout: Node checks each name and value, which takes longer
 * than to write them. `keptAliveFor`: how many seconds the connection stays, undefined where it ends or is not of HTTP/1.1.
 */
export function writeHead(
  response: ServerResponse,
  status: number,
  headers: HeaderList,
  keepAliveSeconds: number | undefined,
): void {
  if (keepAliveSeconds === undefined || response.getHeaderNames().length > 0) response.writeHead(status, [...headers]);
  else {
    const head = formatHead(status, headers);
    setRawHead(response, status, `${head}Connection: keep-alive\r\nKeep-Alive: timeout=${keepAliveSeconds}\r\n`);
  }
}

/**
 * For HTTP/1.1 alone, and for connections that stay. Undocumented: a head that is set is what Node sends, and makes none of its
 * own; what `setHeader` was told is left out.
 */
export function setRawHead(response: ServerResponse, status: number, head: string): void {
  response.statusCode = status;
  Object.assign(response, { _header: `${head}Date: ${httpDate()}\r\n\r\n` });
}

let cachedSecond = 0;
let cachedDate = '';

/** Made once a second. */
function httpDate(): string {
  const now = Math.floor(Date.now() / 1000);
  if (now !== cachedSecond) {
    cachedSecond = now;
    cachedDate = new Date(now * 1000).toUTCString();
  }
  return cachedDate;
}
