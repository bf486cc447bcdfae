import type { Endpoint } from '../endpoints/endpoint.ts';
import { GatewayError } from '../http/errors.ts';
import type { Exchange } from './request-context.ts';

/** Checks the path parameters as they were sent; the error names each bad one and its rule, and repeats no value. */
export function validate(
  parameters: Endpoint['parameters'],
): (exchange: Pick<Exchange, 'rawParameters' | 'parameters'>) => void {
  const schemas = Object.entries(parameters);
  return function validate(exchange) {
    const problems: string[] = [];
    for (const [name, schema] of schemas) {
      const result = schema.safeParse(exchange.rawParameters[name]);
      if (!result.success) problems.push(`${name} ${result.error.issues[0]?.message}`);
    }
    if (problems.length > 0)
      throw new GatewayError('VALIDATION_ERROR', `${problems.join('; ')}.`, { reason: 'parameters' });
    exchange.parameters = exchange.rawParameters;
  };
}
