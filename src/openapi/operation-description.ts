import type { z } from 'zod';
import type { Endpoint } from '../endpoints/endpoint.ts';
import { compilePathTemplate } from '../http/path-template.ts';

/** Placeholder in the snippets. The reference page replaces it with the gateway's own address. */
const GATEWAY_URL = 'https://gateway.example';

/** Markdown description of an endpoint: what it returns, what it requires, and runnable requests. */
export function operationDescription(endpoint: Endpoint): string {
  return `${endpoint.description}

**Required API permission:** \`${endpoint.permission}\`

**Prerequisites:** \`integration_api_key\` (a valid API key) and \`account_group_access\` (the key grants access to the account group)

**Request body:** This endpoint does not define a request body.

${snippets(endpoint)}`;
}

function snippets({ path, parameters }: Endpoint): string {
  const examples = Object.entries(parameters).map(([name, schema]) => [name, firstExample(schema)]);
  const url = GATEWAY_URL + compilePathTemplate(path)(Object.fromEntries(examples));
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

/** The first example of a parameter's schema, or an empty string. */
export function firstExample(schema: z.ZodType): string {
  const examples = schema.meta()?.['examples'] as readonly unknown[] | undefined;
  return String(examples?.[0] ?? '');
}
