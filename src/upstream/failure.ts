/** Reason codes for envelope, log, span and metric, each with the sentence that clients receive. */
export const failureReasons = {
  dns: 'the host name of the campaign service could not be resolved',
  connect: 'the campaign service could not be reached',
  tls: 'a trusted TLS connection to the campaign service could not be established',
  timeout: 'the campaign service did not respond in time',
  reset: 'the campaign service closed the connection before responding',
  truncated: 'the campaign service closed the connection before the response was complete',
  status: 'the campaign service returned an unexpected status',
  too_large: 'the response of the campaign service is too large',
  not_json: 'the campaign service returned something other than JSON',
  invalid_document: 'the campaign service returned a document that does not match the request or its schema',
  circuit_open: 'the campaign service keeps failing and is not called for a moment',
  overloaded: 'too many requests to the campaign service are in flight',
} as const satisfies Record<string, string>;

export type FailureReason = keyof typeof failureReasons;

/** Proxy error types (RFC 9209, section 2.3). For `status` the parameter `received-status` takes their place. */
const proxyErrors = {
  dns: 'dns_error',
  connect: 'connection_refused',
  tls: 'tls_protocol_error',
  timeout: 'http_response_timeout',
  reset: 'connection_terminated',
  truncated: 'http_response_incomplete',
  too_large: 'http_response_body_size',
  not_json: 'http_protocol_error',
  invalid_document: 'http_protocol_error',
  circuit_open: 'destination_unavailable',
  overloaded: 'connection_limit_reached',
} as const satisfies Record<Exclude<FailureReason, 'status'>, string>;

/** More precise types than the one of the reason. */
type PreciseProxyError = 'connection_timeout' | 'tls_certificate_error';

export interface FailureOptions {
  readonly cause?: unknown;
  /** The received status, where the reason is `status`. */
  readonly status?: number | undefined;
  readonly proxyError?: PreciseProxyError | undefined;
}

/** The campaign service returned no usable response. `message` and `cause` are for the log only. */
export class UpstreamFailure extends Error {
  readonly reason: FailureReason;
  readonly status: number | undefined;
  readonly #proxyError: PreciseProxyError | undefined;

  constructor(reason: FailureReason, message: string, { cause, status, proxyError }: FailureOptions = {}) {
    super(message, { cause });
    this.reason = reason;
    this.status = status;
    this.#proxyError = proxyError;
  }

  /** `details` of the 502: the reason, a colon, a sentence. */
  get details(): string {
    return `${this.reason}: ${failureReasons[this.reason]}.`;
  }

  /** The `Proxy-Status` header field of the 502, for programs (RFC 9209, section 2). */
  get proxyStatus(): string {
    if (this.reason === 'status') return `campaign-gateway; received-status=${this.status}`;
    return `campaign-gateway; error=${this.#proxyError ?? proxyErrors[this.reason]}`;
  }
}

/** Every client has disconnected. No response is sent, and the campaign service is not at fault. */
export class AbortedError extends UpstreamFailure {
  constructor() {
    super('reset', 'the request was aborted: every client has disconnected');
  }
}

/** `error.type` for telemetry: the reason, or `abandoned` for an aborted request. */
export function getErrorType(failure: UpstreamFailure): string {
  return failure instanceof AbortedError ? 'abandoned' : failure.reason;
}

/** A failure as text for other gateways: the reason and, for `status`, the received status. */
export function formatFailure({ reason, status }: UpstreamFailure): string {
  return status === undefined ? reason : `${reason} ${status}`;
}

/** The failure of another gateway; undefined if the text is anything else. */
export function parseFailure(text: string): UpstreamFailure | undefined {
  const [, reason = '', status] = /^([a-z_]+)(?: (\d{3}))?$/.exec(text) ?? [];
  if (!isFailureReason(reason) || (reason === 'status') !== (status !== undefined)) return undefined;
  return new UpstreamFailure(reason, 'fetched by another gateway', {
    status: status === undefined ? undefined : Number(status),
  });
}

function isFailureReason(text: string): text is FailureReason {
  return Object.hasOwn(failureReasons, text);
}
