import { entityTag } from '../upstream/interpret.ts';

/** What is the same for everybody, and for as long as the process runs. */
export interface FixedDocument {
  readonly contentType: string;
  readonly body: string;
  readonly etag: string;
}

export function jsonDocument(value: unknown): FixedDocument {
  const body = `${JSON.stringify(value, null, 2)}\n`;
  return { contentType: 'application/json; charset=utf-8', body, etag: entityTag(body) };
}
