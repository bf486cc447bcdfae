import { GatewayError } from './errors.ts';

/** The limits of the public HTTP server. */
export const serverLimits = {
  /** Request line and headers together. */
  headerBytes: 16_384,
  headers: 200,
  /** The request target alone. */
  targetBytes: 8_192,
  /** A declared body up to this size is discarded, a larger one is an error. */
  bodyBytes: 65_536,
  /** Requests of one connection that may wait for their response. A client that pipelines more is disconnected. */
  pipelinedRequests: 100,
  headersTimeoutMs: 10_000,
  requestTimeoutMs: 15_000,
  /** Longer than the idle timeout of common load balancers (60 s), so that they close first. */
  keepAliveTimeoutMs: 75_000,
  /** How long a client may make no progress in reading its response. */
  readTimeoutMs: 30_000,
};
export type ServerLimits = Readonly<typeof serverLimits>;

const REASON = { reason: 'http' };
const HEADERS_TOO_LARGE = `Send at most ${serverLimits.headers} headers, of ${serverLimits.headerBytes} bytes together.`;
const TARGET_TOO_LONG = `Send a request target of at most ${serverLimits.targetBytes} bytes.`;

/** A request that is not valid HTTP, or not the HTTP that this gateway supports. */
export const badRequest = (details: string) => new GatewayError('VALIDATION_ERROR', details, REASON);
export const requestTimeout = () =>
  new GatewayError('REQUEST_TIMEOUT', 'The request was not received in time.', REASON);
export const bodyTooLarge = () => new GatewayError('PAYLOAD_TOO_LARGE', 'Send the request without a body.', REASON);
export const targetTooLong = () => new GatewayError('URI_TOO_LONG', TARGET_TOO_LONG, REASON);
export const headersTooLarge = () => new GatewayError('HEADERS_TOO_LARGE', HEADERS_TOO_LARGE, REASON);
