import { type FailureOptions, type FailureReason, UpstreamFailure } from './failure.ts';

/** How far an attempt got: TCP connection, TLS handshake, response head, response body. */
export type AttemptPhase = 'connecting' | 'handshaking' | 'waiting' | 'reading';

/** In TLS 1.3 the peer can reject the client certificate after the handshake: the error then arrives while waiting. */
const TLS_CODE = /^(EPROTO$|ERR_(SSL|TLS|OSSL)_)/;

/** Failed checks of a certificate, such as `CERT_HAS_EXPIRED` and `UNABLE_TO_VERIFY_LEAF_SIGNATURE`. */
const CERTIFICATE_CODE = /CERT|^UNABLE_TO_/;

/** Maps an error of Node's HTTP client to a failure. No other file interprets its error codes. */
export function toUpstreamFailure(error: NodeJS.ErrnoException, phase: AttemptPhase): UpstreamFailure {
  if (error instanceof UpstreamFailure) return error;
  const { code = 'unknown error' } = error;
  const reason = classify(error, code, phase);
  return new UpstreamFailure(reason, `${code} while ${phase}`, {
    cause: error,
    proxyError: proxyErrorFor(reason, code),
  });
}

function classify({ syscall }: NodeJS.ErrnoException, code: string, phase: AttemptPhase): FailureReason {
  if (syscall === 'getaddrinfo') return 'dns';
  if (code === 'HPE_HEADER_OVERFLOW') return 'too_large';
  if (phase === 'reading') return 'truncated';
  if (code.startsWith('HPE_')) return 'not_json'; // The response is not HTTP.
  if (phase === 'handshaking' || TLS_CODE.test(code)) return 'tls';
  if (phase === 'connecting') return 'connect';
  return code === 'ETIMEDOUT' ? 'timeout' : 'reset';
}

function proxyErrorFor(reason: FailureReason, code: string): FailureOptions['proxyError'] {
  if (reason === 'connect' && code === 'ETIMEDOUT') return 'connection_timeout';
  return reason === 'tls' && CERTIFICATE_CODE.test(code) ? 'tls_certificate_error' : undefined;
}
