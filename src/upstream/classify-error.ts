import { type FailureReason, UpstreamFailure } from './failure.ts';

/** How far an attempt got: TCP connection, TLS handshake, response head, response body. */
export type AttemptPhase = 'connecting' | 'handshaking' | 'waiting' | 'reading';

/** In TLS 1.3 the peer can reject the client certificate after the handshake: the error then arrives while waiting. */
const TLS_CODE = /^(EPROTO$|ERR_(SSL|TLS|OSSL)_)/;

/** Maps an error of Node's HTTP client to a failure. No other file interprets its error codes. */
export function toUpstreamFailure(error: NodeJS.ErrnoException, phase: AttemptPhase): UpstreamFailure {
  if (error instanceof UpstreamFailure) return error;
  const { code = 'unknown error' } = error;
  return new UpstreamFailure(classify(error, code, phase), `${code} while ${phase}`, { cause: error });
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
