import { z } from 'zod';
import { computeEtag } from '../http/etag.ts';
import type { CacheKey } from './entry.ts';
import { type CachePolicy, notStoredReasons } from './freshness.ts';
import type { SharedEntry } from './shared-cache.ts';

const ms = z.number().min(0);
/** Sent as header values. */
const fieldValue = z
  .string()
  .regex(/^[\x20-\x7e\x80-\xff]*$/)
  .optional();

/**
 * The first line of a record in Redis, as JSON. The document follows as it is sent. The age of an entry is measured by the clock of
 * Redis; `ageMs` is the age at which it was stored.
 */
const headSchema = z.object({
  path: z.string(),
  content: z.discriminatedUnion('outcome', [
    z.object({
      outcome: z.literal('found'),
      etag: z.string(),
      validators: z.object({ etag: fieldValue, lastModified: fieldValue, cacheControl: fieldValue }).optional(),
    }),
    z.object({ outcome: z.literal('not_found') }),
    z.object({ outcome: z.literal('uncacheable'), reason: z.enum(notStoredReasons) }),
  ]),
  lifetime: z.object({ freshMs: ms, staleWhileRevalidateMs: ms, staleIfErrorMs: ms }),
  ageMs: ms.default(0),
});

export function encodeEntry({ path }: CacheKey, { content, lifetime, ageMs }: SharedEntry): string {
  if (content.outcome !== 'found') return `${JSON.stringify({ path, content, lifetime, ageMs })}\n`;
  const { data, ...rest } = content;
  return `${JSON.stringify({ path, content: rest, lifetime, ageMs })}\n${data}`;
}

/**
 * Undefined unless the text is a record of this key with a document that may be sent for it. The lifetime is limited to
 * what `policy` allows, because the gateway that wrote the record may have other settings.
 */
export function decodeEntry(
  text: string,
  key: CacheKey,
  policy: CachePolicy,
  isValidDocument: (data: string) => boolean,
): Omit<SharedEntry, 'ageMs'> | undefined {
  const end = text.indexOf('\n');
  const head = parseHead(text.slice(0, Math.max(0, end)));
  if (head?.path !== key.path) return undefined;
  const { lifetime, ageMs } = head;
  const content = head.content.outcome === 'found' ? { ...head.content, data: text.slice(end + 1) } : head.content;
  if (content.outcome === 'found' && !(isValidDocument(content.data) && content.etag === computeEtag(content.data)))
    return undefined;
  const ceiling = policy[content.outcome];
  return {
    content,
    lifetime: {
      freshMs: Math.min(lifetime.freshMs, ageMs + ceiling.freshMs),
      staleWhileRevalidateMs: Math.min(lifetime.staleWhileRevalidateMs, ceiling.staleWhileRevalidateMs),
      staleIfErrorMs: Math.min(lifetime.staleIfErrorMs, ceiling.staleIfErrorMs),
    },
  };
}

function parseHead(text: string): z.output<typeof headSchema> | undefined {
  try {
    return headSchema.parse(JSON.parse(text));
  } catch {
    return undefined;
  }
}
