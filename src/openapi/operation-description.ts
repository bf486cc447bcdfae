import type { z } from 'zod';
import type { Endpoint } from '../endpoints/endpoint.ts';
import { compilePathTemplate } from '../http/path-template.ts';

/** Stands in the snippets for where the gateway is; the reference page puts its own address there. */
const gatewayUrl = 'https://gateway.example';

/** What the description says of an endpoint, in Markdown: what it is, what it asks for, and requests to paste. */
export function operationDescription(endpoint: Endpoint): string {
  return `${endpoint.description}

**Permission** \`${endpoint.permission}\`

**Prerequisites** a valid API key (\`integration_api_key\`) that was given the account group (\`account_group_access\`)

${snippets(endpoint)}`;
}

function snippets({ path, parameters }: Endpoint): string {
  const examples = Object.entries(parameters).map(([name, schema]) => [name, exampleOf(schema)]);
  const url = gatewayUrl + compilePathTemplate(path)(Object.fromEntries(examples));
  return `\`\`\`sh
curl -i -H "X-API-Key: $API_KEY" ${url}
\`\`\`

\`\`\`js
const response = await fetch('${url}', {
  headers: { 'X-API-Key': process.env.API_KEY },
});
const { success, data, error, traceId } = await response.json();
if (!success) throw new Error(\`\${error.code}: \${error.details} (trace id \${traceId})\`);
console.log(data);
\`\`\``;
}

/** The first example of a parameter's schema. */
export function exampleOf(schema: z.ZodType): string {
  const examples = schema.meta()?.['examples'] as readonly unknown[] | undefined;
  return String(examples?.[0] ?? '');
}
