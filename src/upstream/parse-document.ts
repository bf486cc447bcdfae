import type { Endpoint } from '../endpoints/endpoint.ts';
import { computeEtag } from '../http/etag.ts';
import { UpstreamFailure } from './failure.ts';
import type { UpstreamReply } from './forward.ts';
import type { ReadResult } from './origin.ts';

/** What a reply of the campaign service means; `foreign_account_group` is to be told to nobody but the log. */
export type ParsedReply = ReadResult | { readonly outcome: 'foreign_account_group' };

const utf8 = new TextDecoder('utf-8', { fatal: true });

/** Reads, checks and filters a reply that has been decoded. Throws `UpstreamFailure` where it is no campaign, or not the one asked for. */
export function parseReply(
  endpoint: Endpoint,
  parameters: Readonly<Record<string, string>>,
  reply: UpstreamReply,
): ParsedReply {
  if (reply.outcome === 'missing') return { outcome: 'not_found' };
  const document = resolveJsonPointer(parseJson(reply.body), endpoint.resultPointer);
  // Before its fields are looked at: whatever it is, nothing of it is for this caller.
  if (belongsToOtherGroup(document, parameters['accountGroupId'])) return { outcome: 'foreign_account_group' };
  const data = validateAndFilter(endpoint, parameters, document);
  return { outcome: 'found', data, etag: computeEtag(data) };
}

/** Whether a text is what `interpretReply` would have made of a document: this one, filtered, to the letter. */
export function isCanonicalDocument(
  endpoint: Endpoint,
  parameters: Readonly<Record<string, string>>,
  text: string,
): boolean {
  try {
    return validateAndFilter(endpoint, parameters, JSON.parse(text)) === text;
  } catch {
    return false;
  }
}

function validateAndFilter(
  endpoint: Endpoint,
  parameters: Readonly<Record<string, string>>,
  document: unknown,
): string {
  const checked = endpoint.response.safeParse(document);
  if (!checked.success) {
    const fields = checked.error.issues.map((issue) => issue.path.join('.') || 'the document').join(', ');
    throw new UpstreamFailure('invalid_document', `not as the schema asks: ${fields}`);
  }
  if (checked.data['id'] !== parameters[endpoint.idParameter]) {
    throw new UpstreamFailure('invalid_document', 'the id is another than the one asked for');
  }
  return JSON.stringify(checked.data);
}

/** Whether the document says that it belongs to another account group. One that does not say is the asked one's. */
function belongsToOtherGroup(document: unknown, accountGroupId: string | undefined): boolean {
  if (typeof document !== 'object' || document === null || !Object.hasOwn(document, 'accountGroupId')) return false;
  return (document as { accountGroupId: unknown }).accountGroupId !== accountGroupId;
}

function parseJson(body: Buffer): unknown {
  try {
    return JSON.parse(utf8.decode(body));
  } catch {
    // The parser's own message would quote the body.
    throw new UpstreamFailure('not_json', 'the body is no JSON in UTF-8');
  }
}

/** RFC 6901. A pointer to nothing gives undefined, which no schema accepts. */
function resolveJsonPointer(document: unknown, pointer: string): unknown {
  const steps = pointer
    .split('/')
    .slice(1)
    .map((step) => step.replaceAll('~1', '/').replaceAll('~0', '~'));
  return steps.reduce<unknown>(
    (value, step) =>
      typeof value === 'object' && value !== null && Object.hasOwn(value, step) ? value[step as never] : undefined,
    document,
  );
}
