import { type FailureReason, UpstreamFailure } from './failure.ts';

/** How far an attempt got: TCP connection, TLS handshake, response head, response body. */
export type AttemptPhase = 'connecting' | 'handshaking' | 'waiting' | 'reading';

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
/** OpenSSL verification results (`CERT_HAS_EXPIRED` …) and Node's TLS errors. */
const TLS_CODE =
  /^(?:ERR_TLS_|ERR_SSL_|ERR_OSSL_|CERT_|CRL_|UNABLE_TO_|SELF_SIGNED_|DEPTH_ZERO_|ERROR_IN_CERT|INVALID_CA|INVALID_PURPOSE|PATH_LENGTH_|HOSTNAME_MISMATCH|EPROTO$)/;

/** Maps an error of Node's HTTP client to a failure. No other file interprets its error codes. */
export function toUpstreamFailure(error: unknown, phase: AttemptPhase, onStaleSocket: boolean): UpstreamFailure {
  if (error instanceof UpstreamFailure) return error;
  const code = findErrorCode(error);
  const reason = classify(code, phase);
  return new UpstreamFailure(reason, `${code || 'unknown error'} while ${phase}`, {
    cause: error,
    onStaleSocket: onStaleSocket && reason === 'reset',
  });
}

function classify(code: string, phase: AttemptPhase): FailureReason {
  if (DNS_CODES.has(code)) return 'dns';
  if (code === 'HPE_HEADER_OVERFLOW') return 'too_large';
  if (phase === 'reading') return 'truncated';
  if (code.startsWith('HPE_')) return 'not_json'; // The response is not HTTP.
  if (phase === 'handshaking' || TLS_CODE.test(code)) return 'tls';
  if (phase === 'connecting' || CONNECT_CODES.has(code)) return 'connect';
  return code === 'ETIMEDOUT' ? 'timeout' : 'reset';
}

/** A connection attempt to several addresses fails with an `AggregateError`; its first error decides. */
function findErrorCode(error: unknown): string {
  const { code, errors } = (error ?? {}) as { code?: unknown; errors?: unknown };
  if (typeof code === 'string') return code;
  return Array.isArray(errors) && errors.length > 0 ? findErrorCode(errors[0]) : '';
}
