import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { expect } from 'vitest';
import type { ErrorCode } from '../../src/http/errors.ts';
import { expectCommonHeaders, expectError } from './envelope.ts';
import { checkAgainstOpenApi } from './openapi-contract.ts';
import { checkStructuredFields } from './structured-fields.ts';
import { until } from './wait.ts';

interface RawResponse {
  readonly status: number;
  readonly headers: Record<string, string>;
  readonly body: string;
}

/** Splits the bytes of a connection into responses by Content-Length. */
function parseResponses(text: string): RawResponse[] {
  const responses: RawResponse[] = [];
  for (let rest = text; rest !== ''; ) {
    const headEnd = rest.indexOf('\r\n\r\n');
    if (headEnd < 0) throw new Error(`incomplete response head: ${JSON.stringify(rest)}`);
    const [statusLine = '', ...lines] = rest.slice(0, headEnd).split('\r\n');
    const fields = lines.map((line) => line.split(/: *(.*)/) as [string, string]);
    const headers = Object.fromEntries(fields.map(([name, value]) => [name.toLowerCase(), value]));
    const end = headEnd + 4 + Number(headers['content-length'] ?? 0);
    const response = { status: Number(statusLine.split(' ')[1]), headers, body: rest.slice(headEnd + 4, end) };
    checkError(response);
    responses.push(response);
    rest = rest.slice(end);
  }
  return responses;
}

function checkError({ status, headers, body }: RawResponse): void {
  if (!('x-trace-id' in headers) || status < 400) return;
  const header = (name: string) => headers[name.toLowerCase()] ?? null;
  checkAgainstOpenApi({ method: 'GET', path: undefined, status, header, headerNames: Object.keys(headers), body });
  checkStructuredFields(status, header);
}

/** A TCP client that sends bytes and records what it receives and whether the gateway closed the connection. */
export class RawClient {
  readonly socket: Socket;
  received = '';

  private constructor(socket: Socket) {
    this.socket = socket;
    socket.setNoDelay().setEncoding('latin1');
    socket.on('error', () => {}); // A reset: what was received counts.
    socket.on('data', (text: string) => {
      this.received += text;
    });
  }

  static async connect(url: string): Promise<RawClient> {
    const { hostname, port } = new URL(url);
    const client = new RawClient(connect({ port: Number(port), host: hostname, allowHalfOpen: true }));
    await once(client.socket, 'connect');
    return client;
  }

  /** Whether the gateway has closed or reset the connection. */
  get closed(): boolean {
    return this.socket.readableEnded || this.socket.destroyed;
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

/** Sends bytes and returns the responses until the server closes the connection, or until `isComplete` returns true. */
export async function exchangeBytes(
  url: string,
  bytes: string | Buffer,
  isComplete: (text: string) => boolean = () => false,
): Promise<RawResponse[]> {
  const client = await RawClient.connect(url);
  await client.send(typeof bytes === 'string' ? Buffer.from(bytes) : bytes);
  await until(() => client.closed || isComplete(client.received));
  client.socket.destroy();
  return client.responses;
}

export type Outcome = 'OK' | ErrorCode;

/** Checks the envelope and the headers that every response has. Returns the error code, or `OK`. */
export function classifyResponse({ status, headers, body: text }: RawResponse): Outcome {
  const body = JSON.parse(text);
  const response = { status, headers: new Headers(headers), text, body };
  expect(Object.keys(body)).toEqual(['success', 'data', 'error', 'traceId']);
  expect(headers['content-length']).toBe(String(Buffer.byteLength(text, 'latin1')));
  expect(headers['date']).toMatch(/GMT$/);
  if (status === 200) {
    expectCommonHeaders(response);
    expect([body.success, headers['cache-control']]).toEqual([true, 'private, no-cache']);
    return 'OK';
  }
  expectError(response, body.error.code);
  return body.error.code;
}
