/**
 * Every error that a client can see, with its status and message. The response writer renders this table; tests hold the
 * OpenAPI description and the README to it. Nothing else decides a status.
 */
export const errorDefinitions = {
  VALIDATION_ERROR: { status: 400, message: 'The request is invalid.' },
  UNAUTHORIZED: { status: 401, message: 'A valid API key is required.' },
  FORBIDDEN: { status: 403, message: 'This API key does not have access.' },
  NOT_FOUND: { status: 404, message: 'The resource was not found.' },
  METHOD_NOT_ALLOWED: { status: 405, message: 'This method is not allowed.' },
  REQUEST_TIMEOUT: { status: 408, message: 'The request timed out.' },
  PAYLOAD_TOO_LARGE: { status: 413, message: 'The request body is too large.' },
  URI_TOO_LONG: { status: 414, message: 'The request target is too long.' },
  RATE_LIMITED: { status: 429, message: 'Too many requests.' },
  HEADERS_TOO_LARGE: { status: 431, message: 'The request headers are too large.' },
  INTERNAL_ERROR: { status: 500, message: 'The gateway failed to process the request.' },
  UPSTREAM_ERROR: { status: 502, message: 'The campaign service did not return a usable response.' },
  OVERLOADED: { status: 503, message: 'The gateway is overloaded.' },
} as const satisfies Record<string, { status: number; message: string }>;

export type ErrorCode = keyof typeof errorDefinitions;

/** Alternating names and values, as `ServerResponse.writeHead` takes them. */
export type HeaderList = readonly string[];

/**
 * A request that ends in an error envelope. `details` is public: a sentence that the caller can act on. `reason` (one
 * word) and `cause` are for log, span and metric only.
 */
export class GatewayError extends Error {
  readonly code: ErrorCode;
  readonly details: string;
  readonly reason: string | undefined;
  readonly headers: HeaderList;

  constructor(
    code: ErrorCode,
    details: string,
    options: { reason?: string; cause?: unknown; headers?: HeaderList } = {},
  ) {
    super(`${code}: ${details}`, { cause: options.cause });
    this.code = code;
    this.details = details;
    this.reason = options.reason;
    this.headers = options.headers ?? [];
  }

  get status(): number {
    return errorDefinitions[this.code].status;
  }
}

/** Anything thrown that is not a `GatewayError` is a bug: a 500 whose details reveal nothing. */
export function toGatewayError(thrown: unknown): GatewayError {
  if (thrown instanceof GatewayError) return thrown;
  return new GatewayError('INTERNAL_ERROR', 'Try again. If the error persists, report the trace id.', {
    reason: 'internal',
    cause: thrown,
  });
}
