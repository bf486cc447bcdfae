import { readFileSync } from 'node:fs';
import {
  type ClientRequest,
  Agent as HttpAgent,
  type IncomingHttpHeaders,
  IncomingMessage,
  type ServerResponse,
} from 'node:http';
import { Agent as HttpsAgent } from 'node:https';
import { Socket } from 'node:net';
import { Writable } from 'node:stream';
import { createProxyMiddleware, proxyEventsPlugin } from 'http-proxy-middleware';
import type { Settings } from '../settings.ts';
import { BoundedBody } from './bounded-body.ts';
import { Abandoned, classifyFailure, type ExchangePhase, UpstreamFailure } from './failure.ts';

export interface UpstreamRequest {
  /** Path after the base of CAMPAIGN_SERVICE_URL. */
  readonly path: string;
  /** All that goes out, but for `host` and `connection`. */
  readonly headers: Readonly<Record<string, string>>;
  /** When the last byte of the answer has to be there, on `performance.now()`'s clock. */
  readonly deadlineAt: number;
  /** Aborted when nobody waits for the answer any more: the exchange ends at once. */
  readonly signal: AbortSignal;
}

/** `missing`: a 404 or a 410. Any other status than 200 is a failure. */
export type UpstreamReply = { readonly status: number; readonly headers: IncomingHttpHeaders } & (
  | { readonly outcome: 'missing' }
  | { readonly outcome: 'answered'; readonly body: Buffer }
);

/**
 * One attempt at the campaign service, through http-proxy-middleware. It takes neither the client's request nor its
 * response but stand-ins of our own (see `Attempt`), so that nothing of the one goes out and nothing of the other hangs on
 * the campaign service. Rejects with `UpstreamFailure`.
 */
type Forward = (request: UpstreamRequest) => Promise<UpstreamReply>;

interface Bounds {
  readonly connectTimeoutMs: number;
  readonly maxBodyBytes: number;
}

export interface Forwarder {
  readonly forward: Forward;
  /** Gives up the connections that nobody uses: the next request makes a new one. */
  dropIdleConnections(): void;
  close(): void;
}

/** So soon after a request a kept connection breaks that had been given up before it: later, the service has worked on it. */
const STALE_MS = 250;
/** How long the rest of an answer that is not wanted may take. */
const DISCARD_MS = 100;

export function createForward(settings: Settings): Forwarder {
  const target = settings.CAMPAIGN_SERVICE_URL;
  const agent = createAgent(settings);
  const bounds: Bounds = {
    connectTimeoutMs: settings.CAMPAIGN_SERVICE_CONNECT_TIMEOUT_MS,
    maxBodyBytes: settings.CAMPAIGN_SERVICE_MAX_BODY_BYTES,
  };
  const proxy = createProxyMiddleware<Attempt>({
    target,
    agent,
    selfHandleResponse: true,
    // The default plugins answer a failure themselves, in plain text and as a 504; only `on` is wanted.
    ejectPlugins: true,
    plugins: [proxyEventsPlugin as never],
    on: {
      proxyReq: (upstreamRequest, attempt) => attempt.connecting(upstreamRequest),
      proxyRes: (reply, attempt) => attempt.answered(reply),
      error: (error, attempt) => attempt.failed(error),
      econnreset: (error, attempt) => attempt.failed(error),
    },
  });
  const forward: Forward = (request) => {
    if (request.signal.aborted) return Promise.reject(new Abandoned());
    const attempt = new Attempt(request, target.host, bounds);
    void proxy(attempt, attempt.sink as Writable as ServerResponse);
    return attempt.reply;
  };
  const dropIdleConnections = () => {
    for (const socket of Object.values(agent.freeSockets).flat()) socket?.destroy();
  };
  return { forward, dropIdleConnections, close: () => agent.destroy() };
}

function createAgent(settings: Settings): HttpAgent {
  const options = {
    keepAlive: true,
    maxSockets: settings.CAMPAIGN_SERVICE_MAX_CONCURRENCY,
    scheduling: 'lifo',
  } as const;
  if (settings.CAMPAIGN_SERVICE_URL.protocol === 'http:') return new HttpAgent(options);
  const pem = (file: string | undefined) => (file === undefined ? undefined : readFileSync(file));
  return new HttpsAgent({
    ...options,
    ca: pem(settings.CAMPAIGN_SERVICE_CA_FILE),
    cert: pem(settings.CAMPAIGN_SERVICE_CERT_FILE),
    key: pem(settings.CAMPAIGN_SERVICE_KEY_FILE),
  });
}

/** The connection that an `Attempt` seems to have come on; http-proxy-middleware asks whether it is writable. */
const nowhere = new Socket();

/**
 * What http-proxy-middleware takes for the client's request. The real one is never handed over: of its headers, body and
 * query nothing can go out that is not put in here, and the exchange does not hang on its connection.
 */
class Attempt extends IncomingMessage {
  readonly reply: Promise<UpstreamReply>;
  /** What it takes for the response: nothing is written to it, and closing it ends the exchange upstream. */
  readonly sink = new Writable().on('error', () => {});

  readonly #bounds: Bounds;
  readonly #settle: PromiseWithResolvers<UpstreamReply>;
  #deadline: NodeJS.Timeout;
  #connectTimer: NodeJS.Timeout | undefined;
  #phase: ExchangePhase = 'connecting';
  #onKeptConnection = false;
  #sentAt = 0;

  constructor({ path, headers, deadlineAt, signal }: UpstreamRequest, host: string, bounds: Bounds) {
    super(nowhere);
    this.method = 'GET';
    this.url = path;
    this.headers = { ...headers, host };
    this.push(null);

    this.#bounds = bounds;
    this.#settle = Promise.withResolvers();
    this.reply = this.#settle.promise;
    this.#deadline = setTimeout(
      () => {
        this.failed(new UpstreamFailure('timeout', `no whole answer by the deadline, still ${this.#phase}`));
      },
      Math.max(0, deadlineAt - performance.now()),
    );
    const abandon = () => this.failed(new Abandoned());
    signal.addEventListener('abort', abandon, { once: true });
    const free = () => signal.removeEventListener('abort', abandon);
    this.reply.then(free, free);
  }

  /** A socket is there: a fresh one has to connect in time. */
  connecting(upstreamRequest: ClientRequest): void {
    const { socket } = upstreamRequest;
    this.#onKeptConnection = upstreamRequest.reusedSocket;
    this.#sentAt = performance.now();
    // A 101 that nobody asked for: Node would close the connection without a word.
    upstreamRequest.once('upgrade', (_reply, upgraded) => {
      upgraded.destroy();
      this.failed(unexpectedStatus(101));
    });
    if (!socket?.connecting) {
      this.#phase = 'waiting';
      return;
    }
    const connected = () => {
      clearTimeout(this.#connectTimer);
      this.#phase = 'waiting';
    };
    this.#connectTimer = setTimeout(() => {
      const reason = this.#phase === 'handshaking' ? 'tls' : 'connect';
      this.failed(new UpstreamFailure(reason, `no connection within ${this.#bounds.connectTimeoutMs} ms`));
    }, this.#bounds.connectTimeoutMs);
    if ('encrypted' in socket) {
      socket.once('connect', () => {
        this.#phase = 'handshaking';
      });
      socket.once('secureConnect', connected);
    } else {
      socket.once('connect', connected);
    }
  }

  /** The head of the answer is there. Its body is read up to the limit, and only kept where it matters. */
  answered(reply: IncomingMessage): void {
    this.#phase = 'reading';
    const { maxBodyBytes } = this.#bounds;
    const status = reply.statusCode ?? 0;
    const body = new BoundedBody(maxBodyBytes);

    if (status !== 200) this.#settleByStatus(status, reply.headers);

    const tooLarge = () =>
      this.failed(new UpstreamFailure('too_large', `the body is longer than ${maxBodyBytes} bytes`));
    if (Number(reply.headers['content-length']) > maxBodyBytes) {
      tooLarge();
      return;
    }
    reply.on('data', (chunk: Buffer) => {
      if (!body.add(chunk)) tooLarge();
    });
    reply.on('error', (error) => this.failed(error));
    reply.on('close', () => {
      if (!reply.complete) this.failed(new UpstreamFailure('truncated', 'the connection closed before the last byte'));
    });
    reply.on('end', () => {
      this.#stopTimers();
      if (reply.complete)
        this.#settle.resolve({ outcome: 'answered', status, headers: reply.headers, body: body.bytes });
    });
  }

  /** The answer is known; the rest is read for a moment, so that the connection can be used again. */
  #settleByStatus(status: number, headers: IncomingHttpHeaders): void {
    if (status === 404 || status === 410) this.#settle.resolve({ outcome: 'missing', status, headers });
    else this.#settle.reject(unexpectedStatus(status));
    clearTimeout(this.#deadline);
    this.#deadline = setTimeout(() => this.sink.destroy(), DISCARD_MS);
  }

  /** Ends the exchange. After an answer has been given this only closes the connection. */
  failed(error: Error): void {
    this.#stopTimers();
    const isStale = this.#onKeptConnection && performance.now() - this.#sentAt < STALE_MS;
    this.#settle.reject(classifyFailure(error, this.#phase, isStale));
    this.sink.destroy();
  }

  #stopTimers(): void {
    clearTimeout(this.#deadline);
    clearTimeout(this.#connectTimer);
  }
}

function unexpectedStatus(status: number): UpstreamFailure {
  return new UpstreamFailure('status', `the status was ${status}`, { status });
}
