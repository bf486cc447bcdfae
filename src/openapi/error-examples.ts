import type { Endpoint } from '../endpoints/endpoint.ts';
import { type GatewayError, toGatewayError } from '../http/errors.ts';
import { bodyTooLarge, headersTooLarge, requestTimeout, targetTooLong } from '../http/server-limits.ts';
import { unauthorized } from '../middleware/authenticate.ts';
import { checkPermission } from '../middleware/authorize.ts';
import { methodNotAllowed } from '../middleware/no-route.ts';
import { keyRateLimited } from '../middleware/rate-limit.ts';
import { badGateway, documentNotFound } from '../middleware/read-document.ts';
import { checkParams } from '../middleware/validate-params.ts';
import { overloadedError } from '../overload/reject.ts';
import { parseRateLimit } from '../rate-limit/rate-limiter.ts';
import { UpstreamFailure } from '../upstream/failure.ts';

/** An error as the description tells it: when it comes, and one that was made where requests get theirs. */
export interface ErrorExample {
  readonly when: string;
  readonly example: GatewayError;
}

/** All that an endpoint can answer but for success. */
export function endpointErrors(endpoint: Endpoint): readonly ErrorExample[] {
  const { permission, parameters, name } = endpoint;
  return [
    {
      when: 'A path parameter is malformed (`details` names each one and its rule), or the request is no HTTP that can be served.',
      example: catchGatewayError(() => checkParams(parameters, invalidParameters(parameters))),
    },
    {
      when: 'There is no key, or one that is malformed, unknown, expired or revoked: the answer is the same.',
      example: unauthorized('missing'),
    },
    {
      when: `The key lacks the permission \`${permission}\`, or the account group. The answer is the same whether the ${name.toLowerCase()} exists or not.`,
      example: catchGatewayError(() => checkPermission({ permissions: [] }, permission)),
    },
    {
      when: `There is no such ${name.toLowerCase()} in the account group, or no such path.`,
      example: documentNotFound(endpoint),
    },
    { when: 'The request used another method than GET or HEAD.', example: catchGatewayError(methodNotAllowed) },
    { when: 'The request timed out.', example: requestTimeout() },
    { when: 'The request announced a body that is too large; none is wanted.', example: bodyTooLarge() },
    { when: 'The request target is too long.', example: targetTooLong() },
    {
      when: 'The key’s limit is used up, or the client address’s limit on failed keys. Wait for as long as `Retry-After` says.',
      example: keyRateLimited({
        outcome: 'limited',
        states: [{ limit: parseRateLimit('600/60s'), remaining: 0, nextAvailableMs: 3000 }],
      }),
    },
    { when: 'The headers are too long.', example: headersTooLarge() },
    { when: 'The gateway itself failed.', example: toGatewayError(undefined) },
    {
      when: 'The campaign service gave no usable answer. `details` begins with the reason, one word and a colon.',
      example: badGateway(new UpstreamFailure('timeout', '')),
    },
    {
      when: 'The gateway has more to do than it can. Nothing was done for the request: try it again when `Retry-After` says.',
      example: overloadedError(2),
    },
  ];
}

function invalidParameters(parameters: Endpoint['parameters']): Readonly<Record<string, string>> {
  return Object.fromEntries(Object.keys(parameters).map((name) => [name, '%']));
}

function catchGatewayError(refuse: () => void): GatewayError {
  try {
    refuse();
  } catch (error) {
    return toGatewayError(error);
  }
  throw new Error('a request that has to be refused was not');
}
