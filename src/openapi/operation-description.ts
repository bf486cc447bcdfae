import type { z } from 'zod';
import type { Endpoint } from '../endpoints/endpoint.ts';

/** What a caller needs, by the name that the published reference uses. */
export const prerequisites = {
  integration_api_key: 'a valid API key',
  account_group_access: 'the key grants access to the account group',
} as const;

/** Markdown description of an endpoint: what it returns and what it requires. */
export function operationDescription(endpoint: Endpoint): string {
  const needs = Object.entries(prerequisites).map(([name, meaning]) => `\`${name}\` (${meaning})`);
  return `${endpoint.description}

**Required API permission:** \`${endpoint.permission}\`

**Prerequisites:** ${needs.join(' and ')}

**Request body:** This endpoint does not define a request body.`;
}

/** The first example of a parameter's schema, or an empty string. */
export function firstExample(schema: z.ZodType): string {
  const examples = schema.meta()?.['examples'] as readonly unknown[] | undefined;
  return String(examples?.[0] ?? '');
}
