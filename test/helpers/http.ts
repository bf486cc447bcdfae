import { once } from 'node:events';
import { connect } from 'node:net';
import { checkAgainstOpenApi } from './openapi-contract.ts';
import { checkStructuredFields, type LimitField, parseRateLimitField } from './structured-fields.ts';

interface Envelope {
  success: boolean;
  data: Record<string, unknown> | null;
  error: { code: string; message: string; details: string } | null;
  traceId: string;
}

export interface HttpResponse {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  readonly body: Envelope;
}

/**
 * Sends a request and parses the envelope. Throws when a gateway response does not match the OpenAPI document, or has a malformed
 * structured field.
 */
export async function get(url: string, headers: Record<string, string> = {}, method = 'GET'): Promise<HttpResponse> {
  const response = await fetch(url, { method, headers });
  const text = await response.text();
  if (response.headers.has('x-trace-id')) {
    checkAgainstOpenApi({
      method,
      path: new URL(url).pathname,
      status: response.status,
      header: (name) => response.headers.get(name),
      headerNames: [...response.headers.keys()],
      body: text,
    });
    checkStructuredFields(response.status, (name) => response.headers.get(name));
  }
  return {
    status: response.status,
    headers: response.headers,
    text,
    body: text === '' ? (null as never) : JSON.parse(text),
  };
}

/** Sends bytes and returns what the server sends until it closes the connection, or until `isComplete` returns true. */
export async function exchangeBytes(
  url: string,
  bytes: string | Buffer,
  isComplete: (text: string) => boolean = () => false,
): Promise<string> {
  const { hostname, port } = new URL(url);
  const socket = connect(Number(port), hostname);
  socket.on('error', () => {});
  await once(socket, 'connect');
  socket.write(bytes);
  let text = '';
  socket.setEncoding('latin1').on('data', (chunk) => {
    text += chunk;
    if (isComplete(text)) socket.destroy();
  });
  await new Promise((resolve) => socket.once('close', resolve)); // A reset may precede it: what was received counts.
  return text;
}

export interface RawResponse {
  readonly status: number;
  readonly headers: Record<string, string>;
  readonly body: string;
}

/** Splits the bytes of a connection into responses by Content-Length. */
export function parseResponses(text: string): RawResponse[] {
  const responses: RawResponse[] = [];
  let rest = text;
  while (rest !== '') {
    const headEnd = rest.indexOf('\r\n\r\n');
    if (headEnd < 0) throw new Error(`incomplete response head: ${JSON.stringify(rest)}`);
    const [statusLine = '', ...lines] = rest.slice(0, headEnd).split('\r\n');
    const headers = Object.fromEntries(
      lines.map((line) => [line.slice(0, line.indexOf(':')).toLowerCase(), line.slice(line.indexOf(':') + 1).trim()]),
    );
    const length = Number(headers['content-length'] ?? 0);
    responses.push({
      status: Number(statusLine.split(' ')[1]),
      headers,
      body: rest.slice(headEnd + 4, headEnd + 4 + length),
    });
    const { status, body } = responses.at(-1) as RawResponse;
    if ('x-trace-id' in headers && status >= 400) {
      const header = (name: string) => headers[name.toLowerCase()] ?? null;
      checkAgainstOpenApi({ method: 'GET', path: undefined, status, header, headerNames: Object.keys(headers), body });
      checkStructuredFields(status, header);
    }
    rest = rest.slice(headEnd + 4 + length);
  }
  return responses;
}

/** Parses the `RateLimit` header: policy name, available requests `r` and effective window `t` in seconds. */
export function rateLimitState({ headers }: HttpResponse): LimitField {
  return parseRateLimitField(headers.get('ratelimit') ?? '');
}
