import { readFileSync } from 'node:fs';
import { z } from 'zod';
import type { Endpoint } from '../endpoints/endpoint.ts';
import { errorEnvelope, successEnvelope } from '../http/envelope.ts';
import { type ErrorCode, errorDefinitions } from '../http/errors.ts';
import { version } from '../version.ts';
import { endpointErrors } from './error-examples.ts';
import { exampleOf, operationDescription } from './operation-description.ts';
import { headersOfError, headersOfSuccess, sharedHeaders } from './response-headers.ts';

type Json = Readonly<Record<string, unknown>>;

const traceId = z
  .string()
  .regex(/^[0-9a-f]{32}$/)
  .describe('The request’s W3C trace id. Quote it when you report a problem.');

const errorSchema = (code: z.ZodType<string>) =>
  z.object({
    success: z.literal(false),
    data: z.null(),
    error: z.object({
      code: code.describe('What went wrong, for programs.'),
      message: z.string().describe('What went wrong, for people: the same for every error of this code.'),
      details: z.string().describe('What this request can do about it.'),
    }),
    traceId,
  });

const codes = Object.keys(errorDefinitions) as ErrorCode[];

/** The OpenAPI 3.1 description of the public endpoints, made from what checks and filters them. */
export function buildOpenApiDocument(endpoints: readonly Endpoint[]): Json {
  return {
    openapi: '3.1.1',
    info: {
      title: 'Campaign Gateway',
      version,
      summary: 'Bounded public metadata of campaigns.',
      description: guide,
      license: { name: 'MIT', identifier: 'MIT' },
    },
    servers: [{ url: '/', description: 'This gateway.' }],
    security: [{ apiKey: [] }, { bearer: [] }],
    tags: endpoints.map(({ name, description: about }) => ({ name: `${name}s`, description: about })),
    paths: Object.fromEntries(endpoints.map((endpoint) => [endpoint.path, describePath(endpoint)])),
    components: {
      securitySchemes: {
        apiKey: { type: 'apiKey', in: 'header', name: 'X-API-Key', description: 'The key, as it was given to you.' },
        bearer: { type: 'http', scheme: 'bearer', description: 'The same key, as Authorization: Bearer KEY.' },
      },
      headers: sharedHeaders,
      schemas: {
        ...Object.fromEntries(endpoints.flatMap(schemasOf)),
        ValidationErrorResponse: toSchema(errorSchema(z.literal('VALIDATION_ERROR'))),
        ErrorResponse: toSchema(errorSchema(z.enum(codes))),
      },
    },
  };
}

/** What every caller has to know, whatever the endpoint. */
const guide = readFileSync(new URL('guide.md', import.meta.url), 'utf8');

function describePath(endpoint: Endpoint): Json {
  return { get: describeOperation(endpoint, 'get'), head: describeOperation(endpoint, 'head') };
}

function describeOperation(endpoint: Endpoint, method: 'get' | 'head'): Json {
  const { name, title, description: about, permission } = endpoint;
  return {
    operationId: method === 'get' ? `read${name}` : `read${name}Headers`,
    summary: method === 'get' ? title : `${title}: the headers alone`,
    description: method === 'get' ? operationDescription(endpoint) : about,
    tags: [`${name}s`],
    'x-required-permission': permission,
    'x-prerequisites': ['integration_api_key', 'account_group_access'],
    parameters: [...pathParameters(endpoint), ...requestHeaders],
    responses: describeResponses(endpoint, method === 'get'),
  };
}

function pathParameters({ parameters }: Endpoint): Json[] {
  return Object.entries(parameters).map(([name, schema]) => {
    const { description = name, examples: _in, ...form } = toSchema(schema);
    return { name, in: 'path', required: true, description, schema: form, example: exampleOf(schema) };
  });
}

const requestHeaders: readonly Json[] = [
  {
    name: 'If-None-Match',
    in: 'header',
    required: false,
    description: 'The ETag of an earlier answer: while the campaign is unchanged, the answer is a 304.',
    schema: { type: 'string' },
  },
  {
    name: 'traceparent',
    in: 'header',
    required: false,
    description: 'W3C Trace Context: continues your own trace.',
    schema: { type: 'string' },
  },
];

function describeResponses(endpoint: Endpoint, hasBody: boolean): Json {
  const success: unknown = JSON.parse(successEnvelope(JSON.stringify(endpoint.example), exampleTraceId));
  const body = (schema: string, example: unknown) =>
    hasBody && { content: { 'application/json': { schema: { $ref: `#/components/schemas/${schema}` }, example } } };
  const errors = endpointErrors(endpoint).map(({ when, example }) => {
    const schema = example.code === 'VALIDATION_ERROR' ? 'ValidationErrorResponse' : 'ErrorResponse';
    const envelope: unknown = JSON.parse(errorEnvelope(example, exampleTraceId));
    return [example.status, { description: when, headers: headersOfError(example.status), ...body(schema, envelope) }];
  });
  return Object.fromEntries([
    [
      200,
      { description: endpoint.title, headers: headersOfSuccess(), ...body(`${endpoint.name}SuccessResponse`, success) },
    ],
    [304, { description: 'The campaign is unchanged: it has the ETag that you sent.', headers: headersOfSuccess() }],
    ...errors,
  ]);
}

const exampleTraceId = '4bf92f3577b34da6a3ce929d0e0e4736';

function schemasOf({ name, response }: Endpoint): [string, Json][] {
  const success = z.object({ success: z.literal(true), data: response, error: z.null(), traceId });
  const envelope = toSchema(success) as { properties: Record<string, unknown> };
  const data = { $ref: `#/components/schemas/${name}` };
  return [
    [name, toSchema(response)],
    [`${name}SuccessResponse`, { ...envelope, properties: { ...envelope.properties, data } }],
  ];
}

/** As it leaves the gateway: every field is there. */
function toSchema(schema: z.ZodType): Json {
  const { $schema: _dialect, ...rest } = z.toJSONSchema(schema, {
    io: 'output',
    override: ({ jsonSchema }) => {
      delete jsonSchema.default; // It is the campaign service that may leave it out.
    },
  });
  return rest;
}
