import type { Endpoint } from '../endpoints/endpoint.ts';
import { errorEnvelope, successEnvelope } from '../http/envelope.ts';
import { codeSamples } from './code-samples.ts';
import { errorResponses } from './error-examples.ts';
import { firstExample, operationDescription, prerequisites } from './operation-description.ts';
import { errorHeaders, successHeaders } from './response-headers.ts';
import { type Json, toJsonSchema } from './schemas.ts';

const EXAMPLE_TRACE_ID = '4bf92f3577b34da6a3ce929d0e0e4736';

export function describePath(endpoint: Endpoint): Json {
  return { get: describeOperation(endpoint, 'get'), head: describeOperation(endpoint, 'head') };
}

function describeOperation(endpoint: Endpoint, method: 'get' | 'head'): Json {
  const { name, title, description, permission } = endpoint;
  return {
    operationId: `${method}${name}`,
    summary: method === 'get' ? title : `${title} (headers only)`,
    description: method === 'get' ? operationDescription(endpoint) : description,
    tags: [`${name}s`],
    'x-required-permission': permission,
    'x-prerequisites': Object.keys(prerequisites),
    ...(method === 'get' && { 'x-codeSamples': codeSamples(endpoint) }),
    parameters: [...pathParameters(endpoint), ...requestHeaders],
    responses: describeResponses(endpoint, method === 'get'),
  };
}

function pathParameters({ parameters }: Endpoint): Json[] {
  return Object.entries(parameters).map(([name, parameter]) => {
    const { description = name, examples: _examples, ...schema } = toJsonSchema(parameter);
    return { name, in: 'path', required: true, description, schema, example: firstExample(parameter) };
  });
}

const requestHeaders: readonly Json[] = [
  ['If-None-Match', 'ETag of an earlier response. If the resource has not changed since, the response is a 304.'],
  ['traceparent', 'W3C Trace Context header. The request continues the given trace.'],
].map(([name, description]) => ({ name, in: 'header', required: false, description, schema: { type: 'string' } }));

function describeResponses(endpoint: Endpoint, hasBody: boolean): Json {
  const success: unknown = JSON.parse(successEnvelope(JSON.stringify(endpoint.example), EXAMPLE_TRACE_ID));
  const body = (schema: string, example: unknown) =>
    hasBody && { content: { 'application/json': { schema: { $ref: `#/components/schemas/${schema}` }, example } } };
  const errors = errorResponses(endpoint).map(([description, example]) => {
    const schema = example.code === 'VALIDATION_ERROR' ? 'ValidationErrorResponse' : 'ErrorResponse';
    const envelope: unknown = JSON.parse(errorEnvelope(example, EXAMPLE_TRACE_ID));
    return [example.status, { description, headers: errorHeaders(example.status), ...body(schema, envelope) }];
  });
  const headers = successHeaders();
  return {
    200: { description: endpoint.responseDescription, headers, ...body(`${endpoint.name}SuccessResponse`, success) },
    304: { description: 'Not modified. The ETag in `If-None-Match` is current.', headers },
    ...Object.fromEntries(errors),
  };
}
