import { IncomingMessage, type ServerResponse } from 'node:http';
import { Socket } from 'node:net';
import { Writable } from 'node:stream';
import { createProxyMiddleware, proxyEventsPlugin } from 'http-proxy-middleware';
import { closeIdleConnections, createAgent } from './agent.ts';
import { Attempt, type UpstreamReply, type UpstreamRequest } from './attempt.ts';
import { AbortedError } from './failure.ts';
import type { UpstreamSettings } from './settings.ts';

export interface Forwarder {
  /** Makes one attempt. Rejects with `UpstreamFailure`. */
  forward(request: UpstreamRequest): Promise<UpstreamReply>;
  /** Closes pooled connections, so that the next attempt opens a new one. */
  dropIdleConnections(): void;
  close(): void;
}

/** Sends requests through http-proxy-middleware. */
export function createForwarder(settings: UpstreamSettings): Forwarder {
  const target = settings.CAMPAIGN_SERVICE_URL;
  const agent = createAgent(settings);
  const proxy = createProxyMiddleware<RequestStandIn>({
    target,
    agent,
    selfHandleResponse: true,
    // The default plugins respond to failures with a plain-text 504. The events plugin alone connects `on`.
    ejectPlugins: true,
    plugins: [proxyEventsPlugin as never],
    on: {
      proxyReq: (clientRequest, { attempt }) => attempt.onSocket(clientRequest),
      proxyRes: (response, { attempt }) => attempt.onResponse(response),
      error: (error, { attempt }) => attempt.fail(error),
      // Emitted instead of `error` on a reset while the socket of the request, here the stand-in's, is not writable.
      econnreset: (error, { attempt }) => attempt.fail(error),
    },
  });

  function forward(request: UpstreamRequest): Promise<UpstreamReply> {
    if (request.signal.aborted) return Promise.reject(new AbortedError());
    const response = new ResponseStandIn();
    const attempt = new Attempt(request, {
      connectTimeoutMs: settings.CAMPAIGN_SERVICE_CONNECT_TIMEOUT_MS,
      maxBodyBytes: settings.CAMPAIGN_SERVICE_MAX_BODY_BYTES,
      disconnect: () => response.destroy(),
    });
    void proxy(new RequestStandIn(request, target.host, attempt), response as Writable as ServerResponse);
    return attempt.reply;
  }

  return { forward, dropIdleConnections: () => closeIdleConnections(agent), close: () => agent.destroy() };
}

/** An `IncomingMessage` needs a socket. This one is never connected. */
const unconnectedSocket = new Socket();

/**
 * Replaces the client's request. Only the listed headers can be forwarded, and the exchange is independent of the client's
 * connection, so that several clients can share it.
 */
class RequestStandIn extends IncomingMessage {
  readonly attempt: Attempt;

  constructor({ path, headers }: UpstreamRequest, host: string, attempt: Attempt) {
    super(unconnectedSocket);
    this.attempt = attempt;
    this.method = 'GET';
    this.url = path;
    this.headers = { ...headers, host };
    this.push(null);
  }
}

/** Replaces the client's response. Nothing is written to it; destroying it makes http-proxy-middleware close the upstream connection. */
class ResponseStandIn extends Writable {
  constructor() {
    super();
    this.on('error', () => {}); // http-proxy-middleware destroys it with the error that it also passes to `on.error`.
  }
}
