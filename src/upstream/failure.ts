/** Why the campaign service gave no usable answer: one word for envelope, log, span and metric, one sentence for the caller. */
const failureReasons = {
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

export function isFailureReason(text: string): text is FailureReason {
  return Object.hasOwn(failureReasons, text);
}

/** `message` and `cause` are for the log. */
export class UpstreamFailure extends Error {
  readonly reason: FailureReason;
  /** The status that was answered, where that is the reason. */
  readonly status: number | undefined;
  /** It struck a kept connection at once: the other end had most likely given it up already. */
  readonly onStaleSocket: boolean;

  constructor(
    reason: FailureReason,
    message: string,
    options: { cause?: unknown; status?: number; onStaleSocket?: boolean } = {},
  ) {
    super(message, { cause: options.cause });
    this.reason = reason;
    this.status = options.status;
    this.onStaleSocket = options.onStaleSocket ?? false;
  }

  /** What the caller is told: the reason, a colon, a sentence. */
  get details(): string {
    return `${this.reason}: ${failureReasons[this.reason]}.`;
  }
}

/** Nobody waits for the answer any more. It is told to nobody, and says nothing about the campaign service. */
export class AbortedError extends UpstreamFailure {
  constructor() {
    super('reset', 'nobody waits for the answer any more');
  }
}

const DNS_CODES = new Set(['ENOTFOUND', 'EAI_AGAIN', 'EAI_FAIL', 'EAI_NODATA', 'EAI_NONAME', 'ENODATA', 'ESERVFAIL']);
const CONNECT_CODES = new Set([
  'ECONNREFUSED',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'EHOSTDOWN',
  'ENETDOWN',
  'EADDRNOTAVAIL',
  'EACCES',
  'EPERM',
  'EMFILE',
  'ENFILE',
]);

/** How far an exchange had come when it failed: TCP, TLS, the head of the answer, its body. */
export type AttemptPhase = 'connecting' | 'handshaking' | 'waiting' | 'reading';

/** What Node said of a failed exchange, as a reason: the only place that reads its error codes. */
export function classifyFailure(error: unknown, phase: AttemptPhase, onReusedSocket: boolean): UpstreamFailure {
  if (error instanceof UpstreamFailure) return error;
  const code = findErrorCode(error);
  const reason = classify(code, phase);
  const onStaleSocket = reason === 'reset' && onReusedSocket;
  return new UpstreamFailure(reason, `${code || 'unknown error'} while ${phase}`, {
    cause: error,
    onStaleSocket: onStaleSocket,
  });
}

function classify(code: string, phase: AttemptPhase): FailureReason {
  if (DNS_CODES.has(code)) return 'dns';
  if (code === 'HPE_HEADER_OVERFLOW') return 'too_large';
  if (phase === 'reading') return 'truncated';
  if (code.startsWith('HPE_')) return 'not_json'; // Not even HTTP.
  if (phase === 'handshaking' || isTlsCode(code)) return 'tls';
  if (phase === 'connecting' || CONNECT_CODES.has(code)) return 'connect';
  return code === 'ETIMEDOUT' ? 'timeout' : 'reset';
}

/** OpenSSL's verification results (`CERT_HAS_EXPIRED` …), Node's own (`ERR_TLS_…`, `ERR_SSL_…`) and the socket's. */
function isTlsCode(code: string): boolean {
  return /^(?:ERR_TLS_|ERR_SSL_|ERR_OSSL_|CERT_|CRL_|UNABLE_TO_|SELF_SIGNED_|DEPTH_ZERO_|ERROR_IN_CERT|INVALID_CA|INVALID_PURPOSE|PATH_LENGTH_|HOSTNAME_MISMATCH|EPROTO$)/.test(
    code,
  );
}

/** Happy eyeballs fails with an `AggregateError` of one error an address. */
function findErrorCode(error: unknown): string {
  const { code, errors } = (error ?? {}) as {
    code?: unknown;
    errors?: unknown;
  };
  if (typeof code === 'string') return code;
  return Array.isArray(errors) && errors.length > 0 ? findErrorCode(errors[0]) : '';
}

/** Why, for telemetry: an exchange that nobody waited for any more is no fault of the campaign service. */
export function getErrorType(failure: UpstreamFailure): string {
  return failure instanceof AbortedError ? 'abandoned' : failure.reason;
}
