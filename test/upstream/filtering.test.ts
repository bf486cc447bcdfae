import fc from 'fast-check';
import { expect, test } from 'vitest';
import { readCampaign } from '../../src/endpoints/read-campaign.ts';
import { loadSettings } from '../../src/settings/load.ts';
import { UpstreamFailure } from '../../src/upstream/failure.ts';
import { parseReply } from '../../src/upstream/parse-document.ts';
import { campaignDocument, respondWithBody, respondWithJson } from '../helpers/upstream.ts';
import { startUncached } from './start-uncached.ts';

const endpoint = readCampaign(loadSettings({ CAMPAIGN_SERVICE_URL: 'http://a' }));
const parameters = { accountGroupId: 'ag_1', campaignId: 'cmp_1' };
const parseText = (text: string) =>
  parseReply(endpoint, parameters, { outcome: 'found', status: 200, headers: {}, body: Buffer.from(text) });
const parse = (document: unknown) => parseText(JSON.stringify(document));

const publicFields = Object.keys(endpoint.response.shape);
const marker = 'internal-only';

/** Arbitrary JSON with the marker as a name or a value, at any depth. */
const marked = fc.letrec<{ value: unknown }>((tie) => ({
  value: fc.oneof(
    { depthSize: 'small' },
    fc.constant(marker),
    fc.array(tie('value'), { minLength: 1, maxLength: 3 }),
    fc.dictionary(fc.oneof(fc.string(), fc.constantFrom('id', 'name', 'workflowDefinition', marker)), tie('value'), {
      minKeys: 1,
      maxKeys: 3,
    }),
  ),
})).value;

const unknownName = fc
  .oneof(
    fc.string(),
    fc.constantFrom(
      'workflowDefinition',
      'workflow_definition',
      'ID',
      'Name',
      'status ',
      'data',
      '__proto__',
      'constructor',
      'toJSON',
      'prototype',
      marker,
    ),
  )
  .filter((name) => !publicFields.includes(name) && name !== 'accountGroupId');

const nullable = <T>(value: fc.Arbitrary<T>) => fc.option(value, { nil: null });
const timestamp = fc
  .date({ min: new Date(0), max: new Date('9999-12-31T23:59:59Z'), noInvalidDate: true })
  .map((date) => date.toISOString());

const required = [
  'id',
  'name',
  'status',
  'selectedLeadCount',
  'includeConversationHistory',
  'autoCancelOnMessageReceived',
  'createdAt',
  'updatedAt',
] as const;

/** Any campaign document that config/README.md allows. */
const campaign = fc.record(
  {
    id: fc.constant('cmp_1'),
    name: fc.string({ unit: 'binary' }),
    status: fc.string({ unit: 'grapheme' }),
    description: nullable(fc.string({ unit: 'binary' })),
    outreachLanguage: nullable(fc.string()),
    selectedLeadCount: fc.maxSafeNat(),
    includeConversationHistory: fc.boolean(),
    autoCancelOnMessageReceived: fc.boolean(),
    createdAt: timestamp,
    updatedAt: timestamp,
    startedAt: nullable(timestamp),
    rateLimitedUntil: nullable(timestamp),
  },
  { requiredKeys: [...required] },
);

/** Built as text, so that `__proto__` is an ordinary name. */
function withFields(document: Record<string, unknown>, fields: [string, unknown][]): string {
  const members = [...Object.entries(document), ...fields].map(
    ([name, value]) => `${JSON.stringify(name)}:${JSON.stringify(value)}`,
  );
  const ordered = fields.length % 2 === 0 ? members : members.reverse();
  return `{${ordered.join(',')}}`;
}

const unknownFields = fc.uniqueArray(fc.tuple(unknownName, marked), {
  selector: ([name]) => name,
  minLength: 1,
  maxLength: 8,
});

test('unknown fields are dropped at any depth and under any name, and public fields pass through unchanged', () => {
  fc.assert(
    fc.property(campaign, unknownFields, (document, unknown) => {
      fc.pre(!JSON.stringify(document).includes(marker));
      const parsed = parseText(withFields(document, unknown));
      if (parsed.outcome !== 'found') throw new Error(parsed.outcome);
      const data = JSON.parse(parsed.data);
      expect(Object.keys(data)).toEqual(publicFields);
      expect(parsed.data).not.toContain(marker);
      for (const name of publicFields) expect(data[name]).toEqual(document[name as keyof typeof document] ?? null);
    }),
    { numRuns: 1000 },
  );
});

test('a response contains no unknown field in its body or headers', async () => {
  const embedded = await startUncached();
  await fc.assert(
    fc.asyncProperty(campaign, unknownFields, async (document, unknown) => {
      fc.pre(!JSON.stringify(document).includes(marker));
      embedded.upstream.respond = respondWithBody(withFields(document, unknown));
      const { status, text, headers, body } = await embedded.read();
      expect(status).toBe(200);
      expect(text + JSON.stringify([...headers])).not.toContain(marker);
      expect(Object.keys(body.data ?? {})).toEqual(publicFields);
    }),
    { numRuns: 100 },
  );
});

test('an object or array as the value of a public field is rejected', () => {
  fc.assert(
    fc.property(fc.constantFrom(...publicFields), marked, (name, value) => {
      fc.pre(typeof value !== 'string');
      expect(() => parse({ ...campaignDocument('cmp_1'), [name]: value })).toThrow(UpstreamFailure);
    }),
  );
});

const timestamps = ['createdAt', 'updatedAt', 'startedAt', 'rateLimitedUntil'];

const violations: [field: string, value: unknown][] = [
  ...required.flatMap((field): [string, unknown][] => [
    [field, undefined],
    [field, null],
  ]),
  ...publicFields.flatMap((field): [string, unknown][] => [
    [field, {}],
    [field, []],
    [field, ['x']],
  ]),
  ...['id', 'name', 'status', 'description', 'outreachLanguage'].map((field): [string, unknown] => [field, 1]),
  ...['includeConversationHistory', 'autoCancelOnMessageReceived'].flatMap((field): [string, unknown][] => [
    [field, 'true'],
    [field, 1],
  ]),
  ...[-1, 1.5, '25', true, 2 ** 53].map((value): [string, unknown] => ['selectedLeadCount', value]),
  ...timestamps.flatMap((field) =>
    [
      '',
      '2026-01-01',
      '2026-01-01T00:00Z',
      '2026-01-01T00:00:00',
      '2026-01-01 00:00:00Z',
      '2026-02-29T00:00:00Z',
      '2026-13-01T00:00:00Z',
      '2026-00-10T00:00:00Z',
      '2026-01-32T00:00:00Z',
      '2026-01-01T24:00:00Z',
      '2026-01-01T00:60:00Z',
      '2026-01-01T00:00:00+25:00',
      '2026-01-01T00:00:00.Z',
      'Thu, 01 Jan 2026 00:00:00 GMT',
      1767225600000,
    ].map((value): [string, unknown] => [field, value]),
  ),
  ['id', 'cmp_2'],
  ['id', 'CMP_1'],
  ['id', ''],
];

test.each(violations)('a document with %s = %j is rejected as invalid_document', (field, value) => {
  const parseDocument = () => parse({ ...campaignDocument('cmp_1'), [field]: value });
  expect(parseDocument).toThrow(expect.objectContaining({ reason: 'invalid_document' }));
});

test.each([
  '2026-01-01T00:00:00Z',
  '2024-02-29T23:59:59.123456789+14:00',
  '2000-02-29T00:00:00-00:00',
  '2016-12-31T23:59:60Z',
  '2026-01-01t00:00:00z',
  '0001-01-01T00:00:00Z',
])('the timestamp %s passes through unchanged', (value) => {
  const parsed = parse({ ...campaignDocument('cmp_1'), createdAt: value, startedAt: value });
  expect(parsed.outcome === 'found' && JSON.parse(parsed.data)).toMatchObject({ createdAt: value, startedAt: value });
});

test.each(['ag_2', '', null, 1, ['ag_1'], {}])(
  'a document of account group %j is reported as foreign, valid or not',
  (accountGroupId) => {
    expect(parse({ ...campaignDocument('cmp_1'), accountGroupId })).toEqual({ outcome: 'foreign_account_group' });
    // A different result for an invalid document would reveal that it exists.
    expect(parse({ accountGroupId, name: 1 })).toEqual({ outcome: 'foreign_account_group' });
  },
);

test('the last of two fields with the same name decides, for validation and for the response', () => {
  const text = JSON.stringify(campaignDocument('cmp_1', 'ag_1'));
  const withDuplicate = (field: string) => parseText(text.replace(/\}$/, `,${field}}`));
  expect(withDuplicate('"accountGroupId":"ag_2"')).toEqual({ outcome: 'foreign_account_group' });
  const parsed = withDuplicate('"name":"the last"');
  expect(parsed.outcome === 'found' && JSON.parse(parsed.data)).toMatchObject({ name: 'the last' });
});

test('a status value that the gateway does not know passes through', async () => {
  const embedded = await startUncached();
  embedded.upstream.respond = respondWithJson({ ...campaignDocument('cmp_1'), status: 'future_status' });
  expect((await embedded.read()).body.data?.['status']).toBe('future_status');
});

test('CAMPAIGN_SERVICE_RESULT_POINTER selects the document, and nothing else is accepted', async () => {
  const embedded = await startUncached({ CAMPAIGN_SERVICE_RESULT_POINTER: '/a~1b/0/m~0n' });
  const statusFor = async (document: unknown) => {
    embedded.upstream.respond = respondWithJson(document);
    return (await embedded.read()).status;
  };
  expect(await statusFor({ 'a/b': [{ 'm~n': campaignDocument('cmp_1') }] })).toBe(200);
  expect(await statusFor(campaignDocument('cmp_1'))).toBe(502);
  expect(await statusFor({ 'a/b': [] })).toBe(502);
  expect(await statusFor({ 'a/b': null })).toBe(502);
});
