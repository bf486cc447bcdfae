import type { ClientRequest, IncomingHttpHeaders, IncomingMessage } from 'node:http';
import { type AttemptPhase, toUpstreamFailure } from './classify-error.ts';
import { AbortedError, UpstreamFailure } from './failure.ts';

export interface UpstreamRequest {
  /** Path relative to CAMPAIGN_SERVICE_URL. */
  readonly path: string;
  /** Every header to send, except `host` and `connection`. */
  readonly headers: Readonly<Record<string, string>>;
  /** Deadline for the last byte of the response, on the clock of `performance.now()`. */
  readonly deadlineAt: number;
  /** Aborts the exchange when no client waits for it. */
  readonly signal: AbortSignal;
}

/** `not_found`: a 404 or 410. `not_modified`: a 304 to a conditional request. Every other status except 200 is a failure. */
export type UpstreamReply = { readonly status: number; readonly headers: IncomingHttpHeaders } & (
  | { readonly outcome: 'not_found' }
  | { readonly outcome: 'not_modified' }
  | { readonly outcome: 'found'; readonly body: Buffer }
);

export interface AttemptOptions {
  readonly connectTimeoutMs: number;
  readonly maxBodyBytes: number;
  /** Closes the upstream connection. */
  readonly disconnect: () => void;
}

/** Time to read the rest of a body that is not needed, so that the connection can be reused. */
const DRAIN_BODY_MS = 100;
/** Bounds the memory of a body in tiny chunks, each of which costs about 100 bytes. */
const MAX_CHUNKS = 65_536;

/** One HTTP exchange: applies the timeouts and the size limit to what the HTTP client reports. */
export class Attempt {
  readonly #options: AttemptOptions;
  readonly #isConditional: boolean;
  readonly #signal: AbortSignal;
  readonly #onAbort = () => this.fail(new AbortedError());
  readonly #result = Promise.withResolvers<UpstreamReply>();
  #deadlineTimer: NodeJS.Timeout;
  #connectTimer: NodeJS.Timeout | undefined;
  #phase: AttemptPhase = 'connecting';

  constructor({ headers, deadlineAt, signal }: UpstreamRequest, options: AttemptOptions) {
    this.#options = options;
    this.#isConditional = 'if-none-match' in headers || 'if-modified-since' in headers;
    const onDeadline = () => this.fail(new UpstreamFailure('timeout', `deadline exceeded while ${this.#phase}`));
    this.#deadlineTimer = setTimeout(onDeadline, Math.max(0, deadlineAt - performance.now()));
    this.#signal = signal;
    signal.addEventListener('abort', this.#onAbort);
  }

  /** Rejects with `UpstreamFailure`. */
  get reply(): Promise<UpstreamReply> {
    return this.#result.promise;
  }

  onSocket(request: ClientRequest): void {
    // Without this listener Node closes the connection on a 101, and no error is reported.
    request.once('upgrade', (_response, socket) => {
      socket.destroy();
      this.fail(unexpectedStatus(101));
    });
    const { socket } = request;
    if (!socket?.connecting) {
      this.#phase = 'waiting';
      return;
    }
    const { connectTimeoutMs } = this.#options;
    this.#connectTimer = setTimeout(() => {
      const reason = this.#phase === 'handshaking' ? 'tls' : 'connect';
      const message = `no connection within ${connectTimeoutMs} ms`;
      this.fail(new UpstreamFailure(reason, message, { proxyError: 'connection_timeout' }));
    }, connectTimeoutMs);
    socket.once('connect', () => {
      this.#phase = 'handshaking';
    });
    socket.once('encrypted' in socket ? 'secureConnect' : 'connect', () => {
      clearTimeout(this.#connectTimer);
      this.#phase = 'waiting';
    });
  }

  onResponse(response: IncomingMessage): void {
    this.#phase = 'reading';
    const { statusCode: status = 0, headers } = response;
    if (status !== 200) this.#finishByStatus(status, headers);
    const { maxBodyBytes } = this.#options;
    const chunks: Buffer[] = [];
    let length = 0;
    response.on('data', (chunk: Buffer) => {
      length += chunk.length;
      if (length <= maxBodyBytes && chunks.push(chunk) <= MAX_CHUNKS) return;
      this.fail(new UpstreamFailure('too_large', `the body exceeds ${maxBodyBytes} bytes`));
    });
    response.on('end', () => {
      this.#stopWaiting();
      const [first] = chunks;
      const body = first && chunks.length === 1 ? first : Buffer.concat(chunks, length);
      this.#result.resolve({ outcome: 'found', status, headers, body });
    });
  }

  /** The status decides the result. The body is drained so that the connection can be reused. */
  #finishByStatus(status: number, headers: IncomingHttpHeaders): void {
    this.#stopWaiting();
    if (status === 404 || status === 410) this.#result.resolve({ outcome: 'not_found', status, headers });
    else if (status === 304 && this.#isConditional) this.#result.resolve({ outcome: 'not_modified', status, headers });
    else this.#result.reject(unexpectedStatus(status));
    this.#deadlineTimer = setTimeout(this.#options.disconnect, DRAIN_BODY_MS);
  }

  /** Rejects `reply`, unless it is already settled, and closes the connection. */
  fail(error: Error): void {
    this.#stopWaiting();
    this.#result.reject(toUpstreamFailure(error, this.#phase));
    this.#options.disconnect();
  }

  #stopWaiting(): void {
    clearTimeout(this.#deadlineTimer);
    clearTimeout(this.#connectTimer);
    this.#signal.removeEventListener('abort', this.#onAbort);
  }
}

function unexpectedStatus(status: number): UpstreamFailure {
  return new UpstreamFailure('status', `the status was ${status}`, { status });
}
