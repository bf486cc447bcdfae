import type { Endpoint } from '../endpoints/endpoint.ts';
import { type GatewayError, toGatewayError } from '../http/errors.ts';
import { bodyTooLarge, headersTooLarge, requestTimeout, targetTooLong } from '../http/server-limits.ts';
import { unauthorized } from '../middleware/authenticate.ts';
import { checkPermission } from '../middleware/authorize.ts';
import { methodNotAllowed } from '../middleware/no-route.ts';
import { keyRateLimited } from '../middleware/rate-limit.ts';
import { badGateway, documentNotFound } from '../middleware/read-document.ts';
import { checkParams } from '../middleware/validate-params.ts';
import { overloadedError } from '../overload/overloaded-error.ts';
import { parseRateLimit } from '../rate-limit/rate-limiter.ts';
import { failureReasons, UpstreamFailure } from '../upstream/failure.ts';

/**
 * Every error response of an endpoint: its description and an example. The example comes from the code that produces the
 * error at run time, so that the document cannot drift from it.
 */
export function errorResponses(endpoint: Endpoint): readonly (readonly [description: string, example: GatewayError])[] {
  const { permission, parameters, name } = endpoint;
  const invalidParameters = Object.fromEntries(Object.keys(parameters).map((name) => [name, '%']));
  const reasons = Object.keys(failureReasons).map((reason) => `\`${reason}\``);
  return [
    [
      'Request validation failed. A path parameter is malformed, or the request is not valid HTTP. `details` names each malformed parameter and its rule.',
      catchGatewayError(() => checkParams(parameters, invalidParameters)),
    ],
    [
      'Invalid or missing API key. The response is the same for a missing, malformed, unknown, expired, suspended or revoked key.',
      unauthorized('missing'),
    ],
    [
      `Missing required permission. The key lacks the permission \`${permission}\` or access to the account group. The response is the same whether or not the ${name.toLowerCase()} exists.`,
      catchGatewayError(() => checkPermission({ permissions: [] }, permission)),
    ],
    [
      `Resource not found. ${endpoint.notFoundMessage} A path that matches no endpoint returns the same status.`,
      documentNotFound(endpoint),
    ],
    ['Method not allowed. `Allow` lists the supported methods.', catchGatewayError(methodNotAllowed)],
    ['Request timeout. The request was not received in time.', requestTimeout()],
    ['Request body too large. The request declares a body larger than the limit. No body is required.', bodyTooLarge()],
    ['Request target too long. The path and query exceed the limit.', targetTooLong()],
    [
      'Rate limit exceeded. The key has reached its rate limit, or the client address has sent too many invalid keys. Retry after the number of seconds in `Retry-After`.',
      keyRateLimited({
        outcome: 'limited',
        states: [{ limit: parseRateLimit('600/60s'), remaining: 0, refillMs: 0, nextAvailableMs: 3000 }],
      }),
    ],
    ['Request headers too large. The headers exceed the limit.', headersTooLarge()],
    ['Internal server error. The gateway failed to process the request.', toGatewayError(undefined)],
    [
      `Upstream service error. The campaign service did not return a usable response. \`details\` starts with the reason and a colon. The reasons are ${reasons.slice(0, -1).join(', ')} and ${reasons.at(-1)}.`,
      badGateway(new UpstreamFailure('timeout', '')),
    ],
    [
      'Service overloaded. The gateway rejected the request without processing it. Retry after the number of seconds in `Retry-After`.',
      overloadedError(2),
    ],
  ];
}

function catchGatewayError(stage: () => void): GatewayError {
  try {
    stage();
  } catch (error) {
    return toGatewayError(error);
  }
  throw new Error('the stage did not reject the example request');
}
