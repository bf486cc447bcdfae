import type { Endpoint } from '../endpoints/endpoint.ts';
import { GatewayError } from '../http/errors.ts';
import type { Handler } from './request-context.ts';

/** Validates the path parameters as they were sent. Later stages read them from the context. */
export function validateParams(schemas: Endpoint['parameters']): Handler {
  return function validateParams(request, response, next) {
    response.locals.parameters = checkParams(schemas, request.params);
    next();
  };
}

/** Returns the parameters. The error names each invalid one and its rule, and repeats no value. */
export function checkParams(
  schemas: Endpoint['parameters'],
  params: Readonly<Record<string, string>>,
): Readonly<Record<string, string>> {
  const valid: Record<string, string> = {};
  const problems: string[] = [];
  for (const name in schemas) {
    const result = schemas[name]?.safeParse(params[name]);
    if (result?.success) valid[name] = result.data;
    else problems.push(`${name} ${result?.error.issues[0]?.message}`);
  }
  if (problems.length > 0) {
    throw new GatewayError('VALIDATION_ERROR', `${problems.join('; ')}.`, { reason: 'parameters' });
  }
  return valid;
}
