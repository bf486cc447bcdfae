import { Ajv2020 } from 'ajv/dist/2020.js';
import formats from 'ajv-formats';
import { publicEndpoints } from '../../src/endpoints/index.ts';
import { buildOpenApiDocument } from '../../src/openapi/document.ts';
import { loadSettings } from '../../src/settings/load.ts';

/** A response of the public listener. */
interface ObservedResponse {
  readonly method: string;
  /** Undefined for a malformed request. */
  readonly path: string | undefined;
  readonly status: number;
  readonly header: (name: string) => string | null;
  readonly headerNames: readonly string[];
  readonly body: string;
}

const endpoints = publicEndpoints(loadSettings({ CAMPAIGN_SERVICE_URL: 'http://a' }));
// biome-ignore lint/suspicious/noExplicitAny: the tests of the OpenAPI document check its structure.
const document: any = buildOpenApiDocument(endpoints);
const [[template, operations]] = Object.entries(document.paths) as [[string, typeof document]];
const endpointPath = new RegExp(`^${template.replace(/\{\w+\}/g, '[^/]*')}$`);
const ajv = new Ajv2020({ strict: false, allErrors: true });
(formats as unknown as (ajv: Ajv2020) => void)(ajv);
ajv.addSchema(document, 'openapi.json');

/** Headers of HTTP itself, which the OpenAPI document does not list. */
const HTTP_HEADERS = ['date', 'connection', 'keep-alive', 'content-type', 'content-length'];

/** Statuses of all checked responses in this test file. */
export const observedStatuses = new Set<string>();
/** Statuses in the OpenAPI document. */
export const documentedStatuses: readonly string[] = Object.keys(operations.get.responses);

/** Throws when a response does not match the OpenAPI document. Responses of other endpoints are not checked. */
export function checkAgainstOpenApi(response: ObservedResponse): void {
  const { method, path, status, body } = response;
  if (status < 400 && !endpointPath.test(path ?? '')) return;
  observedStatuses.add(String(status));
  const documented = operations[method === 'HEAD' ? 'head' : 'get'].responses[String(status)];
  if (!documented) throw new Error(`the OpenAPI document has no ${status} for ${method}`);
  checkHeaders(response, documented.headers);
  const schema = documented.content?.['application/json'].schema;
  if (schema && body !== '') check(schema.$ref, JSON.parse(body), `the body of a ${status}`);
}

function checkHeaders(
  { status, header, headerNames }: ObservedResponse,
  documented: Record<string, { $ref: string }>,
): void {
  const allowed = [...HTTP_HEADERS, ...Object.keys(documented).map((name) => name.toLowerCase())];
  const others = headerNames.filter((name) => !allowed.includes(name));
  if (others.length > 0) throw new Error(`${status} has undocumented headers: ${others.join(', ')}`);
  for (const [name, { $ref }] of Object.entries(documented)) {
    const { required, schema } = document.components.headers[name] ?? {};
    const value = header(name);
    if (value !== null) {
      check(`${$ref}/schema`, schema?.type === 'integer' ? Number(value) : value, `${name} of a ${status}`);
    } else if (required) throw new Error(`a ${status} lacks ${name}`);
  }
}

function check($ref: string, value: unknown, label: string): void {
  const validate = ajv.getSchema(`openapi.json${$ref}`);
  if (validate?.(value)) return;
  throw new Error(`${label} does not match the OpenAPI document: ${ajv.errorsText(validate?.errors)}`);
}
