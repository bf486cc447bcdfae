import { z } from 'zod';
import { type ApiKey, apiKeySchema } from './api-key.ts';

const documentSchema = z.strictObject({ format: z.literal(1), keys: z.array(apiKeySchema) });

const MAX_REPORTED_FIELDS = 5;

/** The content of a keys file and of an export: every record with its hash, and no key. */
export function formatKeysDocument(records: readonly ApiKey[]): string {
  return `${JSON.stringify({ format: 1, keys: records }, null, 2)}\n`;
}

/** Throws an error that names what is wrong without quoting any content. */
export function parseKeysDocument(text: string): ApiKey[] {
  const { data, error } = documentSchema.safeParse(parseJson(text));
  if (data) return data.keys;
  const fields = error.issues.map(({ path }) => path.join('.') || 'the document');
  throw new Error(`invalid fields: ${fields.slice(0, MAX_REPORTED_FIELDS).join(', ')}`);
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new Error('not valid JSON');
  }
}
