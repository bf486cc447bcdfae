import { GatewayError } from './errors.ts';

/** The limits of the public HTTP server. */
export interface ServerLimits {
  /** Request line and headers together. */
  readonly headerBytes: number;
  readonly headers: number;
  /** The request target alone. */
  readonly targetBytes: number;
  /** A declared body up to this size is discarded, a larger one is an error. */
  readonly bodyBytes: number;
  /** Requests of one connection that may wait for their response. A client that pipelines more is disconnected. */
  readonly pipelinedRequests: number;
  readonly headersTimeoutMs: number;
  readonly requestTimeoutMs: number;
  readonly keepAliveTimeoutMs: number;
  /** How long a client may take to read a response. */
  readonly readTimeoutMs: number;
}

export const serverLimits: ServerLimits = {
  headerBytes: 16_384,
  headers: 200,
  targetBytes: 8_192,
  bodyBytes: 65_536,
  pipelinedRequests: 100,
  headersTimeoutMs: 10_000,
  requestTimeoutMs: 15_000,
  // Longer than the idle timeout of common load balancers (60 s), so that they close first.
  keepAliveTimeoutMs: 75_000,
  readTimeoutMs: 30_000,
};

/** A request that is not valid HTTP, or not the HTTP that this gateway supports. */
export function badRequest(details: string): GatewayError {
  return new GatewayError('VALIDATION_ERROR', details, { reason: 'http' });
}

export function requestTimeout(): GatewayError {
  return new GatewayError('REQUEST_TIMEOUT', 'The request was not received in time.', { reason: 'http' });
}

export function bodyTooLarge(): GatewayError {
  return new GatewayError('PAYLOAD_TOO_LARGE', 'Send the request without a body.', { reason: 'http' });
}

export function targetTooLong(): GatewayError {
  return new GatewayError('URI_TOO_LONG', `Send a request target of at most ${serverLimits.targetBytes} bytes.`, {
    reason: 'http',
  });
}

export function headersTooLarge(): GatewayError {
  const { headers, headerBytes } = serverLimits;
  const details = `Send at most ${headers} headers, of ${headerBytes} bytes together.`;
  return new GatewayError('HEADERS_TOO_LARGE', details, { reason: 'http' });
}
