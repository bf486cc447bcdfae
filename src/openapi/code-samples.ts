import type { Endpoint } from '../endpoints/endpoint.ts';
import { compilePathTemplate } from '../http/path-template.ts';
import { firstExample } from './operation-description.ts';
import { toJsonSchema } from './schemas.ts';

/** Placeholder in the samples. The reference page replaces it with the gateway's own address. */
export const GATEWAY_URL = 'https://gateway.example';

/** One runnable request. The field names are those of the OpenAPI extension `x-codeSamples`. */
export interface CodeSample {
  readonly lang: string;
  readonly label: string;
  readonly source: string;
}

/** A request to the endpoint in each language. The samples read the key from the environment variable `API_KEY`. */
export function codeSamples(endpoint: Endpoint): readonly CodeSample[] {
  const examples = Object.entries(endpoint.parameters).map(([name, schema]) => [name, firstExample(schema)]);
  const url = GATEWAY_URL + compilePathTemplate(endpoint.path)(Object.fromEntries(examples));
  return [
    { lang: 'sh', label: 'curl', source: curl(url) },
    { lang: 'js', label: 'JavaScript', source: javaScript(url) },
    { lang: 'ts', label: 'TypeScript', source: typeScript(url, endpoint) },
    { lang: 'py', label: 'Python', source: python(url) },
  ];
}

const curl = (url: string) => `curl -i -H "X-API-Key: $API_KEY" \\
  ${url}`;

const javaScript = (url: string) => `const url = '${url}';
const response = await fetch(url, {
  headers: { 'X-API-Key': process.env.API_KEY },
  signal: AbortSignal.timeout(10_000),
});
const { success, data, error, traceId } = await response.json();
if (!success) {
  throw new Error(\`\${error.code}: \${error.details} (trace ID \${traceId})\`);
}
console.log(data);`;

const typeScript = (url: string, { name, response }: Endpoint) => `interface ${name} ${typeName(toJsonSchema(response))}

type Envelope<T> =
  | { success: true; data: T; traceId: string }
  | { success: false; error: { code: string; details: string }; traceId: string };

const url = '${url}';
const response = await fetch(url, {
  headers: { 'X-API-Key': process.env.API_KEY ?? '' },
  signal: AbortSignal.timeout(10_000),
});
const body = (await response.json()) as Envelope<${name}>;
if (!body.success) {
  const { code, details } = body.error;
  throw new Error(\`\${code}: \${details} (trace ID \${body.traceId})\`);
}
console.log(body.data);`;

const python = (url: string) => `import json, os
from urllib.error import HTTPError
from urllib.request import Request, urlopen

url = "${url}"
request = Request(url, headers={"X-API-Key": os.environ["API_KEY"]})
try:
    with urlopen(request, timeout=10) as response:
        print(json.load(response)["data"])
except HTTPError as response:
    body = json.load(response)
    error = body["error"]
    raise SystemExit(f"{error['code']}: {error['details']} (trace ID {body['traceId']})")`;

/** The part of JSON Schema that `toJsonSchema` generates from the schema of a response. */
export interface JsonSchema {
  readonly type?: string | readonly string[];
  readonly anyOf?: readonly JsonSchema[];
  readonly const?: unknown;
  readonly properties?: Readonly<Record<string, JsonSchema>>;
  readonly items?: JsonSchema;
  readonly format?: string;
  readonly pattern?: string;
  readonly minimum?: number;
  readonly description?: string;
  readonly $ref?: string;
}

/** The TypeScript type of a schema. */
function typeName({ type, anyOf, properties, items }: JsonSchema, indent = ''): string {
  if (anyOf) return anyOf.map((option) => typeName(option, indent)).join(' | ');
  if (Array.isArray(type)) return type.map((option: string) => typeName({ type: option })).join(' | ');
  if (items) return `Array<${typeName(items, indent)}>`;
  if (properties) {
    const inner = `${indent}  `;
    const fields = Object.entries(properties).map(([name, schema]) => `${inner}${name}: ${typeName(schema, inner)};`);
    return `{\n${fields.join('\n')}\n${indent}}`;
  }
  return type === 'integer' ? 'number' : String(type ?? 'unknown');
}
