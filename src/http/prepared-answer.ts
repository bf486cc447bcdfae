import type { ServerResponse } from 'node:http';
import type { HeaderList } from '../errors.ts';
import { formatHead, setHead } from './head.ts';

/** An answer that is the same for all but for its trace id, and is sent as it is: half the cost of one is to make its head. */
export interface PreparedAnswer {
  readonly status: number;
  readonly head: readonly [beforeTraceId: string, afterIt: string];
  readonly body: readonly [beforeTraceId: string, afterIt: string];
}

/** For text in ASCII. */
export function prepareAnswer(
  status: number,
  headers: (traceId: string) => HeaderList,
  body: (traceId: string) => string,
): PreparedAnswer {
  const traceId = '0'.repeat(32);
  const text = body(traceId);
  const head = formatHead(status, [...headers(traceId), 'Content-Length', String(text.length)]);
  const around = (whole: string) => whole.split(traceId) as [string, string];
  return { status, head: around(head), body: around(text) };
}

/** Sends it, and keeps the connection: see `setHead`. */
export function sendPrepared(response: ServerResponse, { status, head, body }: PreparedAnswer, traceId: string): void {
  setHead(response, status, `${head[0]}${traceId}${head[1]}`);
  response.end(`${body[0]}${traceId}${body[1]}`, 'latin1');
}
