import { Ajv2020, type ValidateFunction } from 'ajv/dist/2020.js';
import formats from 'ajv-formats';
import { publicEndpoints } from '../../src/endpoints/index.ts';
import { buildOpenApiDocument } from '../../src/openapi/document.ts';
import { loadSettings } from '../../src/settings/load.ts';

/** A response of the public listener. */
export interface ObservedResponse {
  readonly method: string;
  /** Undefined for a malformed request. */
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

/** Headers of HTTP itself, which the OpenAPI document does not list. */
const HTTP_HEADERS = new Set(['date', 'connection', 'keep-alive', 'content-type', 'content-length']);

/** Statuses of all checked responses in this test file. */
export const observedStatuses = new Set<string>();
/** Statuses in the OpenAPI document. */
export const documentedStatuses = Object.keys(Object.values(document.paths)[0]?.['get']?.responses ?? {});

/** Throws when a response does not match the OpenAPI document. Responses of other endpoints are not checked. */
export function checkAgainstOpenApi(response: ObservedResponse): void {
  const documented = findDocumented(response);
  if (documented === 'other_endpoint') return;
  observedStatuses.add(String(response.status));
  if (!documented) throw new Error(`the OpenAPI document has no ${response.status} for ${response.method}`);
  for (const [name, { $ref }] of Object.entries(documented.headers)) checkHeader(response, name, $ref);
  const names = new Set(Object.keys(documented.headers).map((name) => name.toLowerCase()));
  const undocumented = response.headerNames.filter((name) => !names.has(name) && !HTTP_HEADERS.has(name));
  if (undocumented.length > 0) {
    throw new Error(`${response.status} has undocumented headers: ${undocumented.join(', ')}`);
  }
  const schema = documented.content?.['application/json'].schema.$ref;
  if (schema && response.body !== '') check(schema, JSON.parse(response.body), `the body of a ${response.status}`);
}

function findDocumented({ method, path, status }: ObservedResponse): Response | undefined | 'other_endpoint' {
  const [template] = Object.keys(document.paths);
  const isMatch = path !== undefined && new RegExp(`^${template?.replace(/\{\w+\}/g, '[^/]*')}$`).test(path);
  if (!isMatch && status < 400) return 'other_endpoint';
  const operation = document.paths[template ?? '']?.[method === 'HEAD' ? 'head' : 'get'];
  return operation?.responses[String(status)];
}

function checkHeader({ header, status }: ObservedResponse, name: string, $ref: string): void {
  const documented = document.components.headers[name];
  const value = header(name);
  if (value === null) {
    if (documented?.required) throw new Error(`a ${status} lacks ${name}`);
    return;
  }
  const typed = documented?.schema.type === 'integer' ? Number(value) : value;
  check(`${$ref}/schema`, typed, `${name} of a ${status}`);
}

function check($ref: string, value: unknown, label: string): void {
  const validate = compiled.get($ref) ?? ajv.compile({ $ref: `openapi.json${$ref}` });
  compiled.set($ref, validate);
  if (!validate(value))
    throw new Error(`${label} does not match the OpenAPI document: ${ajv.errorsText(validate.errors)}`);
}
