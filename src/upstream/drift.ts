import type { Logger } from 'pino';
import { counter } from '../telemetry/instruments.ts';
import { MAX_FIELD_NAMES } from '../telemetry/snapshot.ts';

/** Records schema drift, the difference between upstream documents and the endpoint's schema: field names, never values. */
export interface Drift {
  /** `data` is what the filter returned for the document. */
  countDropped(document: unknown, data: unknown): void;
  countInvalid(paths: readonly (readonly PropertyKey[])[]): void;
}

/** A property name of another form may be a value, such as a mail address. It is counted as `other`. */
const NAME = /^(?:\(document\)|[A-Za-z_][\w.[\]-]{0,63})$/;
/** Fields that the gateway reads and does not return to clients. */
const EXPECTED = new Set(['accountGroupId']);

export function createDrift(log: Logger): Drift {
  const countDropped = createFieldCounter(
    'campaign_gateway.upstream.fields_dropped',
    'Fields of upstream documents that are not public and were dropped',
    (field) => log.info({ field }, 'the campaign service sends a field that is dropped'),
  );
  const countInvalid = createFieldCounter(
    'campaign_gateway.upstream.fields_invalid',
    'Fields of upstream documents that do not match the schema',
    (field) => log.warn({ field }, 'the campaign service sends a field that does not match the schema'),
  );
  return {
    countDropped(document, data) {
      const fields = new Set<string>();
      collectDropped(document, data, '', fields);
      for (const field of fields) if (!EXPECTED.has(field)) countDropped(field);
    },
    countInvalid: (paths) => new Set(paths.map(formatPath)).forEach(countInvalid),
  };
}

/** Calls `onNew` at the first occurrence of each name. */
function createFieldCounter(name: string, description: string, onNew: (field: string) => void) {
  const names = new Set<string>();
  const count = counter(name, description, ['field']);
  return (field: string): void => {
    const isNamed = names.has(field) || (names.size < MAX_FIELD_NAMES && NAME.test(field));
    const label = isNamed ? field : 'other';
    count(label);
    if (names.has(label)) return;
    names.add(label);
    onNew(label);
  };
}

/** Descends only into fields that the filter passes, so that the cost does not depend on the size of the others. */
function collectDropped(document: unknown, data: unknown, path: string, fields: Set<string>): void {
  if (document === data || !isObject(document) || !isObject(data)) return;
  if (Array.isArray(document)) {
    for (const [i, item] of document.entries()) collectDropped(item, data[i], `${path}[]`, fields);
    return;
  }
  for (const name of Object.keys(document)) {
    const field = path === '' ? name : `${path}.${name}`;
    if (Object.hasOwn(data, name)) collectDropped(document[name], data[name], field, fields);
    else fields.add(field);
  }
}

function isObject(value: unknown): value is Record<string | number, unknown> {
  return typeof value === 'object' && value !== null;
}

/** Names a nested field as `owner.name` or `steps[].id`. */
function formatPath(path: readonly PropertyKey[]): string {
  const names = path.map((name) => (typeof name === 'number' ? '[]' : `.${String(name)}`));
  return names.join('').replace(/^\./, '') || '(document)';
}
