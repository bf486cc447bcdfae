import type { Endpoint } from '../endpoints/endpoint.ts';
import { computeEtag } from '../http/etag.ts';
import type { UpstreamReply } from './attempt.ts';
import type { Drift } from './drift.ts';
import { UpstreamFailure } from './failure.ts';
import type { ReadResult } from './origin.ts';
import { parseValidators } from './validators.ts';

/** `foreign_account_group` is logged; the client receives the same 404 as for `not_found`. */
export type ParsedReply = ReadResult | { readonly outcome: 'foreign_account_group' };

const utf8 = new TextDecoder('utf-8', { fatal: true });

/** Parses, validates and filters a reply. Throws `UpstreamFailure` for anything but the requested document. */
export function parseReply(
  endpoint: Endpoint,
  parameters: Readonly<Record<string, string>>,
  reply: Exclude<UpstreamReply, { outcome: 'not_modified' }>,
  drift?: Drift,
): ParsedReply {
  if (reply.outcome === 'not_found') return { outcome: 'not_found' };
  const document = resolveJsonPointer(parseJson(reply.body), endpoint.resultPointer);
  // Before validation: a 502 for an invalid document would reveal that it exists.
  if (belongsToOtherGroup(document, parameters['accountGroupId'])) return { outcome: 'foreign_account_group' };
  const data = validateAndFilter(endpoint, parameters, document, drift);
  return { outcome: 'found', data, etag: computeEtag(data), validators: parseValidators(reply.headers) };
}

/** Whether `text` is exactly what `parseReply` produces for this document. */
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
  drift?: Drift,
): string {
  const parsed = endpoint.response.safeParse(document);
  if (!parsed.success) {
    drift?.countInvalid(parsed.error.issues.map((issue) => issue.path));
    const fields = parsed.error.issues.map((issue) => issue.path.join('.') || '(document)').join(', ');
    throw new UpstreamFailure('invalid_document', `the document does not match the schema: ${fields}`);
  }
  if (parsed.data['id'] !== parameters[endpoint.idParameter]) {
    drift?.countInvalid([['id']]);
    throw new UpstreamFailure('invalid_document', 'the id differs from the requested one');
  }
  drift?.countDropped(document, parsed.data);
  return JSON.stringify(parsed.data);
}

/** A document without `accountGroupId` is taken to belong to the requested account group. */
function belongsToOtherGroup(document: unknown, accountGroupId: string | undefined): boolean {
  const fields: { accountGroupId?: unknown } = Object(document);
  return Object.hasOwn(fields, 'accountGroupId') && fields.accountGroupId !== accountGroupId;
}

function parseJson(body: Buffer): unknown {
  try {
    return JSON.parse(utf8.decode(body));
  } catch {
    // Without a cause: the parser's message quotes the body.
    throw new UpstreamFailure('not_json', 'the body is not JSON in UTF-8');
  }
}

/** RFC 6901. Returns undefined, which no schema accepts, if the pointer does not resolve. */
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
