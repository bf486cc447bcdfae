import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { expect } from 'vitest';
import { type ErrorCode, errorDefinitions } from '../../src/http/errors.ts';
import { parseResponses, type RawResponse } from './http.ts';
import { until } from './wait.ts';

/** A client below HTTP: it sends bytes, and sees what comes back and whether the connection is ended. */
export class RawClient {
  readonly socket: Socket;
  received = '';
  /** The gateway has ended the connection, or reset it. */
  ended = false;

  private constructor(socket: Socket) {
    this.socket = socket;
    socket.setNoDelay().setEncoding('latin1');
    socket.on('data', (text: string) => {
      this.received += text;
    });
    const end = () => {
      this.ended = true;
    };
    socket
      .on('error', () => {})
      .on('end', end)
      .on('close', end);
  }

  static async connect(url: string): Promise<RawClient> {
    const { hostname, port } = new URL(url);
    const socket = connect({ port: Number(port), host: hostname, allowHalfOpen: true });
    const client = new RawClient(socket);
    await once(socket, 'connect');
    return client;
  }

  /** Writes the pieces, each in a packet of its own as far as TCP lets one say so. */
  async send(...pieces: readonly (string | Buffer)[]): Promise<void> {
    for (const piece of pieces) {
      if (!this.socket.writable) return new Promise((resolve) => setImmediate(resolve)); // Its `close` event may be due.
      const bytes = typeof piece === 'string' ? Buffer.from(piece, 'latin1') : piece;
      await new Promise<void>((resolve) => this.socket.write(bytes, () => setImmediate(resolve)));
    }
  }

  /** The final answers so far; an interim one is none (RFC 9110, section 15.2). */
  get answers(): RawResponse[] {
    return parseResponses(this.received).filter(({ status }) => status >= 200);
  }

  /** Waits until so many answers have begun to come, or the connection has ended. */
  async untilAnswers(count: number): Promise<void> {
    await until(() => this.ended || (this.received.match(/HTTP\/1\.1 [2-5]\d\d /g)?.length ?? 0) >= count);
  }

  /** All answers, once the gateway has ended the connection. */
  async untilEnded(): Promise<RawResponse[]> {
    await until(() => this.ended);
    this.socket.destroy();
    return this.answers;
  }
}

export type Outcome = 'OK' | ErrorCode;

/** Checks that it is a whole envelope, with the headers that every answer has, and tells which. */
export function classifyResponse({ status, headers, body }: RawResponse): Outcome {
  const envelope = JSON.parse(body);
  expect(Object.keys(envelope)).toEqual(['success', 'data', 'error', 'traceId']);
  expect(headers['content-length']).toBe(String(Buffer.byteLength(body, 'latin1')));
  expect(headers['content-type']).toBe('application/json; charset=utf-8');
  expect(headers['x-trace-id']).toBe(envelope.traceId);
  expect(headers['x-trace-id']).toMatch(/^[0-9a-f]{32}$/);
  expect(headers['x-content-type-options']).toBe('nosniff');
  expect(headers['date']).toMatch(/GMT$/);
  expect(headers['cache-control']).toBe(status === 200 ? 'private, no-cache' : 'no-store');
  expect(envelope.success).toBe(status === 200);
  if (status === 200) return 'OK';
  const code = envelope.error.code as ErrorCode;
  expect(errorDefinitions[code].status).toBe(status);
  return code;
}
