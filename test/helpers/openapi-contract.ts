import { Ajv2020, type ValidateFunction } from 'ajv/dist/2020.js';
import formats from 'ajv-formats';
import { publicEndpoints } from '../../src/endpoints/index.ts';
import { buildOpenApiDocument } from '../../src/openapi/document.ts';
import { loadSettings } from '../../src/settings/load.ts';

/** An answer of the public listener, as far as the API description speaks of it. */
export interface DescribedResponse {
  readonly method: string;
  /** Undefined where the request was no HTTP. */
  readonly path: string | undefined;
  readonly status: number;
  readonly header: (name: string) => string | null;
  readonly headerNames: readonly string[];
  readonly body: string;
}

interface Header {
  readonly required?: boolean;
  readonly schema: { readonly type: string };
}

interface Response {
  readonly headers: Readonly<Record<string, { readonly $ref: string }>>;
  readonly content?: { readonly 'application/json': { readonly schema: { readonly $ref: string } } };
}

interface Document {
  readonly paths: Readonly<
    Record<string, Readonly<Record<string, { readonly responses: Readonly<Record<string, Response>> }>>>
  >;
  readonly components: { readonly headers: Readonly<Record<string, Header>> };
}

const document = buildOpenApiDocument(
  publicEndpoints(loadSettings({ CAMPAIGN_SERVICE_URL: 'http://a' })),
) as unknown as Document;
const ajv = new Ajv2020({ strict: false, allErrors: true });
(formats as unknown as (ajv: Ajv2020) => void)(ajv);
ajv.addSchema(document, 'openapi.json');
const compiled = new Map<string, ValidateFunction>();

/** What HTTP itself adds. */
const OF_HTTP = new Set(['date', 'connection', 'keep-alive', 'content-type', 'content-length']);

/** Statuses that the description has and that have been answered in this test file. */
export const seenStatuses = new Set<string>();
export const describedStatuses = Object.keys(Object.values(document.paths)[0]?.['get']?.responses ?? {});

/** Throws where an answer is not as the API description says. */
export function checkAgainstOpenApi(response: DescribedResponse): void {
  const described = responseOf(response);
  if (described === 'of another endpoint') return;
  seenStatuses.add(String(response.status));
  if (!described) throw new Error(`the API description has no ${response.status} for ${response.method}`);
  for (const [name, { $ref }] of Object.entries(described.headers)) checkHeader(response, name, $ref);
  const known = new Set(Object.keys(described.headers).map((name) => name.toLowerCase()));
  const unknown = response.headerNames.filter((name) => !known.has(name) && !OF_HTTP.has(name));
  if (unknown.length > 0)
    throw new Error(`${response.status} has headers that are not described: ${unknown.join(', ')}`);
  const schema = described.content?.['application/json'].schema.$ref;
  if (schema && response.body !== '') check(schema, JSON.parse(response.body), `the body of a ${response.status}`);
}

function responseOf({ method, path, status }: DescribedResponse): Response | undefined | 'of another endpoint' {
  const [template] = Object.keys(document.paths);
  const isKnown = path !== undefined && new RegExp(`^${template?.replace(/\{\w+\}/g, '[^/]*')}$`).test(path);
  if (!isKnown && status < 400) return 'of another endpoint';
  const operation = document.paths[template ?? '']?.[method === 'HEAD' ? 'head' : 'get'];
  return operation?.responses[String(status)];
}

function checkHeader({ header, status }: DescribedResponse, name: string, $ref: string): void {
  const described = document.components.headers[name];
  const value = header(name);
  if (value === null) {
    if (described?.required) throw new Error(`a ${status} lacks ${name}`);
    return;
  }
  const typed = described?.schema.type === 'integer' ? Number(value) : value;
  check(`${$ref}/schema`, typed, `${name} of a ${status}`);
}

function check($ref: string, value: unknown, what: string): void {
  const validate = compiled.get($ref) ?? ajv.compile({ $ref: `openapi.json${$ref}` });
  compiled.set($ref, validate);
  if (!validate(value)) throw new Error(`${what} is not as described: ${ajv.errorsText(validate.errors)}`);
}
