import type { Endpoint } from '../endpoints/endpoint.ts';
import type { ErrorCode } from '../errors.ts';

/** An error as the description tells it: when it comes, and what it says for example. */
export interface DescribedError {
  readonly code: ErrorCode;
  readonly when: string;
  readonly details: string;
}

/** All that an endpoint can answer but for success, by status. */
export function errorsOf({ permission, notFound, name }: Endpoint): readonly DescribedError[] {
  const resource = name.toLowerCase();
  return [
    {
      code: 'VALIDATION_ERROR',
      when: 'A path parameter is malformed (`details` names each one and its rule), or the request is no HTTP that can be served.',
      details: 'accountGroupId must be 1–64 characters of A–Z a–z 0–9 _ -.',
    },
    {
      code: 'UNAUTHORIZED',
      when: 'There is no key, or one that is malformed, unknown, expired or revoked: the answer is the same.',
      details: 'Send one valid API key, as X-API-Key or as Authorization: Bearer.',
    },
    {
      code: 'FORBIDDEN',
      when: `The key lacks the permission ${permission}, or the account group.`,
      details: 'This key has no access to this account group.',
    },
    {
      code: 'NOT_FOUND',
      when: `There is no such ${resource} in the account group, or no such path.`,
      details: notFound,
    },
    { code: 'METHOD_NOT_ALLOWED', when: 'The request used another method.', details: 'Use GET or HEAD.' },
    { code: 'REQUEST_TIMEOUT', when: 'The request did not arrive in time.', details: 'Send the whole request sooner.' },
    {
      code: 'PAYLOAD_TOO_LARGE',
      when: 'The request announced a body that is too large; none is wanted.',
      details: 'Send the request without a body.',
    },
    {
      code: 'URI_TOO_LONG',
      when: 'The request target is too long.',
      details: 'Send a request target of at most 8192 bytes.',
    },
    {
      code: 'RATE_LIMITED',
      when: 'The key’s limit is used up, or the client address’s limit on failed keys. Wait for as long as Retry-After says.',
      details: 'The rate limit of this key is used up. Try again in 3 s.',
    },
    {
      code: 'HEADERS_TOO_LARGE',
      when: 'The headers are too long.',
      details: 'Send at most 16384 bytes of headers.',
    },
    {
      code: 'INTERNAL_ERROR',
      when: 'The gateway itself failed.',
      details: 'Try again; if it stays, report the trace id.',
    },
    {
      code: 'UPSTREAM_ERROR',
      when: 'The campaign service gave no usable answer; `details` begins with the reason.',
      details: 'timeout: The campaign service did not answer in time.',
    },
  ];
}
