import { readFileSync } from 'node:fs';
import type { Endpoint } from '../endpoints/endpoint.ts';
import { version } from '../version.ts';
import { describePath } from './operation.ts';
import { sharedHeaders } from './response-headers.ts';
import { endpointSchemas, errorSchemas, type Json } from './schemas.ts';

/** The part of the description that applies to every endpoint, in Markdown. */
const guide = readFileSync(new URL('guide.md', import.meta.url), 'utf8');

/** Builds the OpenAPI 3.1 document from the schemas and error constructors that the gateway uses at run time. */
export function buildOpenApiDocument(endpoints: readonly Endpoint[]): Json {
  return {
    openapi: '3.1.1',
    info: {
      title: 'Campaign Gateway',
      version,
      summary: 'Read-only API for public campaign metadata.',
      description: guide,
      license: { name: 'MIT', identifier: 'MIT' },
    },
    servers: [{ url: '/', description: 'This gateway.' }],
    security: [{ apiKey: [] }, { bearer: [] }],
    tags: endpoints.map(({ name, description }) => ({ name: `${name}s`, description })),
    paths: Object.fromEntries(endpoints.map((endpoint) => [endpoint.path, describePath(endpoint)])),
    components: {
      securitySchemes: {
        apiKey: { type: 'apiKey', in: 'header', name: 'X-API-Key', description: 'API key in the X-API-Key header.' },
        bearer: { type: 'http', scheme: 'bearer', description: 'API key as a bearer token.' },
      },
      headers: sharedHeaders,
      schemas: { ...Object.assign({}, ...endpoints.map(endpointSchemas)), ...errorSchemas() },
    },
  };
}
