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

/** The example comes from the code that produces the error at run time, so that the document cannot drift from it. */
export interface ErrorExample {
  readonly description: string;
  readonly example: GatewayError;
}

/** Every error response of an endpoint, in order of status. */
export function endpointErrors(endpoint: Endpoint): readonly ErrorExample[] {
  return [...clientErrors(endpoint), ...limitErrors(), ...serverErrors()].sort(
    (a, b) => a.example.status - b.example.status,
  );
}

function clientErrors(endpoint: Endpoint): ErrorExample[] {
  const { permission, parameters, name, notFoundMessage } = endpoint;
  return [
    {
      description:
        'Request validation failed. A path parameter is malformed, or the request is not valid HTTP. `details` names each malformed parameter and its rule.',
      example: catchGatewayError(() => checkParams(parameters, invalidParameters(parameters))),
    },
    {
      description:
        'Invalid or missing API key. The response is the same for a missing, malformed, unknown, expired, suspended or revoked key.',
      example: unauthorized('missing'),
    },
    {
      description: `Missing required permission. The key lacks the permission \`${permission}\` or access to the account group. The response is the same whether or not the ${name.toLowerCase()} exists.`,
      example: catchGatewayError(() => checkPermission({ permissions: [] }, permission)),
    },
    {
      description: `Resource not found. ${notFoundMessage} A path that matches no endpoint returns the same status.`,
      example: documentNotFound(endpoint),
    },
    {
      description: 'Method not allowed. `Allow` lists the supported methods.',
      example: catchGatewayError(methodNotAllowed),
    },
  ];
}

function limitErrors(): ErrorExample[] {
  return [
    { description: 'Request timeout. The request was not received in time.', example: requestTimeout() },
    {
      description: 'Request body too large. The request declares a body larger than the limit. No body is required.',
      example: bodyTooLarge(),
    },
    { description: 'Request target too long. The path and query exceed the limit.', example: targetTooLong() },
    {
      description:
        'Rate limit exceeded. The key has reached its rate limit, or the client address has sent too many invalid keys. Retry after the number of seconds in `Retry-After`.',
      example: keyRateLimited({
        outcome: 'limited',
        states: [{ limit: parseRateLimit('600/60s'), remaining: 0, nextAvailableMs: 3000 }],
      }),
    },
    { description: 'Request headers too large. The headers exceed the limit.', example: headersTooLarge() },
  ];
}

function serverErrors(): ErrorExample[] {
  const reasons = Object.keys(failureReasons).map((reason) => `\`${reason}\``);
  return [
    {
      description: 'Internal server error. The gateway failed to process the request.',
      example: toGatewayError(undefined),
    },
    {
      description: `Upstream service error. The campaign service did not return a usable response. \`details\` starts with the reason and a colon. The reasons are ${reasons.slice(0, -1).join(', ')} and ${reasons.at(-1)}.`,
      example: badGateway(new UpstreamFailure('timeout', '')),
    },
    {
      description:
        'Service overloaded. The gateway rejected the request without processing it. Retry after the number of seconds in `Retry-After`.',
      example: overloadedError(2),
    },
  ];
}

function invalidParameters(parameters: Endpoint['parameters']): Readonly<Record<string, string>> {
  return Object.fromEntries(Object.keys(parameters).map((name) => [name, '%']));
}

function catchGatewayError(stage: () => void): GatewayError {
  try {
    stage();
  } catch (error) {
    return toGatewayError(error);
  }
  throw new Error('the stage did not reject the example request');
}
