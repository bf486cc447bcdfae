import type { ServerResponse } from 'node:http';
import type { HeaderList } from './errors.ts';
import { formatHead, setRawHead } from './response-head.ts';

/** An answer that is the same for all but for its trace id, and is sent as it is: half the cost of one is to make its head. */
export interface PrebuiltResponse {
  readonly status: number;
  readonly head: readonly [beforeTraceId: string, afterIt: string];
  readonly body: readonly [beforeTraceId: string, afterIt: string];
}

/** For text in ASCII. */
export function prebuildResponse(
  status: number,
  headers: (traceId: string) => HeaderList,
  body: (traceId: string) => string,
): PrebuiltResponse {
  const traceId = '0'.repeat(32);
  const text = body(traceId);
  const head = formatHead(status, [...headers(traceId), 'Content-Length', String(text.length)]);
  const splitAtTraceId = (whole: string) => whole.split(traceId) as [string, string];
  return { status, head: splitAtTraceId(head), body: splitAtTraceId(text) };
}

/** Sends it, and keeps the connection: see `setHead`. */
export function sendPrebuilt(
  response: ServerResponse,
  { status, head, body }: PrebuiltResponse,
  traceId: string,
): void {
  setRawHead(response, status, `${head[0]}${traceId}${head[1]}`);
  response.end(`${body[0]}${traceId}${body[1]}`, 'latin1');
}
