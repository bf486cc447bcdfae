import { z } from 'zod';
import type { Endpoint } from '../endpoints/endpoint.ts';
import { errorDefinitions } from '../http/errors.ts';

export type Json = Readonly<Record<string, unknown>>;

const traceId = z
  .string()
  .regex(/^[0-9a-f]{32}$/)
  .describe('W3C trace ID of the request. Include it when you report a problem.');

const errorSchema = (code: z.ZodType<string>) =>
  z.object({
    success: z.literal(false).describe('False: the request failed.'),
    data: z.null().describe('Always null.'),
    error: z
      .object({
        code: code.describe('Stable error code for programs.'),
        message: z.string().describe('Human-readable summary. It is the same for every error with this code.'),
        details: z.string().describe('Human-readable explanation of what to change or how to continue.'),
      })
      .describe('What went wrong.'),
    traceId,
  });

export function errorSchemas(): Json {
  return {
    ValidationErrorResponse: toJsonSchema(errorSchema(z.literal('VALIDATION_ERROR'))),
    ErrorResponse: toJsonSchema(errorSchema(z.enum(Object.keys(errorDefinitions)))),
  };
}

/** The schema of an endpoint's document and of its success envelope. */
export function endpointSchemas({ name, response }: Endpoint): Json {
  const success = z.object({
    success: z.literal(true).describe('True: the request succeeded.'),
    data: response,
    error: z.null().describe('Always null.'),
    traceId,
  });
  const envelope = toJsonSchema(success) as { properties: Json };
  const data = { $ref: `#/components/schemas/${name}`, description: 'The requested resource.' };
  return {
    [name]: toJsonSchema(response),
    [`${name}SuccessResponse`]: { ...envelope, properties: { ...envelope.properties, data } },
  };
}

/** Describes the output: every field is present, even one that the campaign service may omit. */
export function toJsonSchema(schema: z.ZodType): Json {
  const { $schema: _dialect, ...rest } = z.toJSONSchema(schema, {
    io: 'output',
    override: ({ jsonSchema }) => {
      delete jsonSchema.default;
    },
  });
  return rest;
}
