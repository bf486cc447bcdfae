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
import type { Settings } from '../settings/definitions.ts';
import { BoundedBody } from './bounded-body.ts';
import { AbortedError, type AttemptPhase, classifyFailure, UpstreamFailure } from './failure.ts';

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

interface AttemptLimits {
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
const STALE_SOCKET_WINDOW_MS = 250;
/** How long the rest of an answer that is not wanted may take. */
const DRAIN_BODY_MS = 100;

export function createForwarder(settings: Settings): Forwarder {
  const target = settings.CAMPAIGN_SERVICE_URL;
  const agent = createAgent(settings);
  const limits: AttemptLimits = {
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
      proxyReq: (upstreamRequest, attempt) => attempt.onSocket(upstreamRequest),
      proxyRes: (reply, attempt) => attempt.onResponse(reply),
      error: (error, attempt) => attempt.fail(error),
      econnreset: (error, attempt) => attempt.fail(error),
    },
  });
  const forward: Forward = (request) => {
    if (request.signal.aborted) return Promise.reject(new AbortedError());
    const attempt = new Attempt(request, target.host, limits);
    void proxy(attempt, attempt.responseStub as Writable as ServerResponse);
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
const detachedSocket = new Socket();

/**
 * What http-proxy-middleware takes for the client's request. The real one is never handed over: of its headers, body and
 * query nothing can go out that is not put in here, and the exchange does not hang on its connection.
 */
class Attempt extends IncomingMessage {
  readonly reply: Promise<UpstreamReply>;
  /** What it takes for the response: nothing is written to it, and closing it ends the exchange upstream. */
  readonly responseStub = new Writable().on('error', () => {});

  readonly #limits: AttemptLimits;
  readonly #result: PromiseWithResolvers<UpstreamReply>;
  #deadline: NodeJS.Timeout;
  #connectTimer: NodeJS.Timeout | undefined;
  #phase: AttemptPhase = 'connecting';
  #onReusedSocket = false;
  #sentAt = 0;

  constructor({ path, headers, deadlineAt, signal }: UpstreamRequest, host: string, limits: AttemptLimits) {
    super(detachedSocket);
    this.method = 'GET';
    this.url = path;
    this.headers = { ...headers, host };
    this.push(null);

    this.#limits = limits;
    this.#result = Promise.withResolvers();
    this.reply = this.#result.promise;
    this.#deadline = setTimeout(
      () => {
        this.fail(new UpstreamFailure('timeout', `no whole answer by the deadline, still ${this.#phase}`));
      },
      Math.max(0, deadlineAt - performance.now()),
    );
    const onAbort = () => this.fail(new AbortedError());
    signal.addEventListener('abort', onAbort, { once: true });
    const removeListener = () => signal.removeEventListener('abort', onAbort);
    this.reply.then(removeListener, removeListener);
  }

  /** A socket is there: a fresh one has to connect in time. */
  onSocket(upstreamRequest: ClientRequest): void {
    const { socket } = upstreamRequest;
    this.#onReusedSocket = upstreamRequest.reusedSocket;
    this.#sentAt = performance.now();
    // A 101 that nobody asked for: Node would close the connection without a word.
    upstreamRequest.once('upgrade', (_reply, upgraded) => {
      upgraded.destroy();
      this.fail(unexpectedStatus(101));
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
      this.fail(new UpstreamFailure(reason, `no connection within ${this.#limits.connectTimeoutMs} ms`));
    }, this.#limits.connectTimeoutMs);
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
  onResponse(reply: IncomingMessage): void {
    this.#phase = 'reading';
    const { maxBodyBytes } = this.#limits;
    const status = reply.statusCode ?? 0;
    const body = new BoundedBody(maxBodyBytes);

    if (status !== 200) this.#rejectOrMissing(status, reply.headers);

    const tooLarge = () => this.fail(new UpstreamFailure('too_large', `the body is longer than ${maxBodyBytes} bytes`));
    if (Number(reply.headers['content-length']) > maxBodyBytes) {
      tooLarge();
      return;
    }
    reply.on('data', (chunk: Buffer) => {
      if (!body.append(chunk)) tooLarge();
    });
    reply.on('error', (error) => this.fail(error));
    reply.on('close', () => {
      if (!reply.complete) this.fail(new UpstreamFailure('truncated', 'the connection closed before the last byte'));
    });
    reply.on('end', () => {
      this.#stopTimers();
      if (reply.complete)
        this.#result.resolve({ outcome: 'answered', status, headers: reply.headers, body: body.buffer });
    });
  }

  /** The answer is known; the rest is read for a moment, so that the connection can be used again. */
  #rejectOrMissing(status: number, headers: IncomingHttpHeaders): void {
    if (status === 404 || status === 410) this.#result.resolve({ outcome: 'missing', status, headers });
    else this.#result.reject(unexpectedStatus(status));
    clearTimeout(this.#deadline);
    this.#deadline = setTimeout(() => this.responseStub.destroy(), DRAIN_BODY_MS);
  }

  /** Ends the exchange. After an answer has been given this only closes the connection. */
  fail(error: Error): void {
    this.#stopTimers();
    const isStale = this.#onReusedSocket && performance.now() - this.#sentAt < STALE_SOCKET_WINDOW_MS;
    this.#result.reject(classifyFailure(error, this.#phase, isStale));
    this.responseStub.destroy();
  }

  #stopTimers(): void {
    clearTimeout(this.#deadline);
    clearTimeout(this.#connectTimer);
  }
}

function unexpectedStatus(status: number): UpstreamFailure {
  return new UpstreamFailure('status', `the status was ${status}`, { status });
}
