import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { expect } from 'vitest';
import { type ErrorCode, errorDefinitions } from '../../src/http/errors.ts';
import { parseResponses, type RawResponse } from './http.ts';
import { until } from './wait.ts';

/** A TCP client that sends bytes and records what it receives and whether the gateway closed the connection. */
export class RawClient {
  readonly socket: Socket;
  received = '';
  /** The gateway has closed or reset the connection. */
  closed = false;

  private constructor(socket: Socket) {
    this.socket = socket;
    socket.setNoDelay().setEncoding('latin1');
    socket.on('data', (text: string) => {
      this.received += text;
    });
    const onClosed = () => {
      this.closed = true;
    };
    socket
      .on('error', () => {})
      .on('end', onClosed)
      .on('close', onClosed);
  }

  static async connect(url: string): Promise<RawClient> {
    const { hostname, port } = new URL(url);
    const socket = connect({ port: Number(port), host: hostname, allowHalfOpen: true });
    const client = new RawClient(socket);
    await once(socket, 'connect');
    return client;
  }

  /** Writes the chunks, as far as TCP allows each in a separate packet. */
  async send(...chunks: readonly (string | Buffer)[]): Promise<void> {
    for (const chunk of chunks) {
      if (!this.socket.writable) return new Promise((resolve) => setImmediate(resolve)); // Its `close` event may be due.
      const bytes = typeof chunk === 'string' ? Buffer.from(chunk, 'latin1') : chunk;
      await new Promise<void>((resolve) => this.socket.write(bytes, () => setImmediate(resolve)));
    }
  }

  /** The final responses received, without interim ones (RFC 9110, section 15.2). */
  get responses(): RawResponse[] {
    return parseResponses(this.received).filter(({ status }) => status >= 200);
  }

  /** Waits for the heads of `count` final responses, or for the connection to close. */
  async untilResponses(count: number): Promise<void> {
    await until(() => this.closed || (this.received.match(/HTTP\/1\.1 [2-5]\d\d /g)?.length ?? 0) >= count);
  }

  /** Waits for the gateway to close the connection and returns all final responses. */
  async untilClosed(): Promise<RawResponse[]> {
    await until(() => this.closed);
    this.socket.destroy();
    return this.responses;
  }
}

export type Outcome = 'OK' | ErrorCode;

/** Checks the envelope and the headers that every response has. Returns the error code, or `OK`. */
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
