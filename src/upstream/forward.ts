import { EventEmitter } from 'node:events';
import type { ClientRequest, IncomingMessage, ServerResponse } from 'node:http';
import { createProxyMiddleware, proxyEventsPlugin } from 'http-proxy-middleware';
import { createAgent, type Resolve } from './agent.ts';
import { Attempt, type UpstreamReply, type UpstreamRequest } from './attempt.ts';
import { AbortedError, type UpstreamFailure } from './failure.ts';
import type { UpstreamSettings } from './settings.ts';

/** Returns a function that makes one attempt through http-proxy-middleware. It rejects with `UpstreamFailure`. */
export function createForwarder(settings: UpstreamSettings, resolve?: Resolve) {
  const target = settings.CAMPAIGN_SERVICE_URL;
  const agent = createAgent(settings, resolve);
  const proxy = createProxyMiddleware<IncomingMessage & RequestStandIn>({
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

  async function forward(request: UpstreamRequest): Promise<UpstreamReply> {
    if (request.signal.aborted) throw new AbortedError();
    const response = new ResponseStandIn();
    const attempt = new Attempt(request, {
      connectTimeoutMs: settings.CAMPAIGN_SERVICE_CONNECT_TIMEOUT_MS,
      maxBodyBytes: settings.CAMPAIGN_SERVICE_MAX_BODY_BYTES,
      disconnect: () => response.destroy(),
    });
    const standIn: unknown = new RequestStandIn(request, target.host, attempt);
    void proxy(standIn as IncomingMessage & RequestStandIn, response as unknown as ServerResponse);
    try {
      return await attempt.reply;
    } catch (error) {
      if ((error as UpstreamFailure).reason === 'reset' && !(error instanceof AbortedError)) closeIdleConnections();
      throw error;
    }
  }

  /** After a reset: the peer, or a load balancer, may have dropped the other pooled connections as well. */
  function closeIdleConnections(): void {
    for (const socket of Object.values(agent.freeSockets).flat()) socket?.destroy();
  }

  return { forward, close: () => agent.destroy() };
}

/**
 * Stands in for the client's request, with what http-proxy-middleware reads of it. Only the listed headers can be forwarded, and
 * the exchange is independent of the client's connection, so that several clients can share it.
 */
class RequestStandIn extends EventEmitter {
  readonly method = 'GET';
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly attempt: Attempt;

  constructor({ path, headers }: UpstreamRequest, host: string, attempt: Attempt) {
    super();
    this.url = path;
    this.headers = { ...headers, host };
    this.attempt = attempt;
  }

  /** There is no body. */
  pipe(upstreamRequest: ClientRequest): void {
    upstreamRequest.end();
  }
}

/** Stands in for the client's response. Nothing is written to it. Destroying it closes the upstream connection. */
class ResponseStandIn extends EventEmitter {
  destroyed = false;

  destroy(): void {
    if (this.destroyed) return;
    this.destroyed = true;
    this.emit('close');
  }
}
