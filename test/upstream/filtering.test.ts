import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { readCampaign } from '../../src/endpoints/read-campaign.ts';
import { loadSettings } from '../../src/settings/load.ts';
import { UpstreamFailure } from '../../src/upstream/failure.ts';
import { parseReply } from '../../src/upstream/parse-document.ts';
import type { RunningGateway } from '../helpers/gateway.ts';
import { get } from '../helpers/http.ts';
import { campaignPath, Stack } from '../helpers/stack.ts';
import { campaignDocument, respondWithBody, respondWithJson } from '../helpers/upstream.ts';

let stack: Stack;
let gateway: RunningGateway;
let key: string;

beforeAll(async () => {
  stack = await Stack.start();
  gateway = await stack.gateway({ RATE_LIMIT_DEFAULT: '1000000/1s' });
  key = await stack.key();
});
afterAll(() => stack.stop());

const read = () => get(gateway.url + campaignPath, { 'x-api-key': key });

const endpoint = readCampaign(loadSettings({ CAMPAIGN_SERVICE_URL: 'http://a' }));
const parameters = { accountGroupId: 'ag_1', campaignId: 'cmp_1' };
const interpret = (document: unknown) =>
  parseReply(endpoint, parameters, {
    outcome: 'answered',
    status: 200,
    headers: {},
    body: Buffer.from(JSON.stringify(document)),
  });

const publicFields = Object.keys(endpoint.response.shape);
const marker = 'must-not-leave';

/** Any JSON with the marker somewhere in it, as a name or as a value, at any depth. */
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

const foreignName = fc
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

/** Campaigns of any shape that the contract allows. */
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
  {
    requiredKeys: [...required],
  },
);

/** JSON text with the foreign fields between the public ones, so that `__proto__` is a name like any other. */
function mix(document: Record<string, unknown>, foreign: [string, unknown][]): string {
  const members = [...Object.entries(document), ...foreign].map(
    ([name, value]) => `${JSON.stringify(name)}:${JSON.stringify(value)}`,
  );
  const turned = foreign.length % 2 === 0 ? members : members.reverse();
  return `{${turned.join(',')}}`;
}

const foreignFields = fc.uniqueArray(fc.tuple(foreignName, marked), {
  selector: ([name]) => name,
  minLength: 1,
  maxLength: 8,
});

test('whatever the campaign service adds, at any depth and under any name, never comes out, and what is public comes unchanged', () => {
  fc.assert(
    fc.property(campaign, foreignFields, (document, foreign) => {
      fc.pre(!JSON.stringify(document).includes(marker));
      const body = Buffer.from(mix(document, foreign));
      const meaning = parseReply(endpoint, parameters, { outcome: 'answered', status: 200, headers: {}, body });
      if (meaning.outcome !== 'found') throw new Error(meaning.outcome);
      const data = JSON.parse(meaning.data);
      expect(Object.keys(data)).toEqual(publicFields);
      expect(meaning.data).not.toContain(marker);
      for (const name of publicFields) expect(data[name]).toEqual(document[name as keyof typeof document] ?? null);
    }),
    { numRuns: 1000 },
  );
});

test('the same, over the wire', async () => {
  await fc.assert(
    fc.asyncProperty(campaign, foreignFields, async (document, foreign) => {
      fc.pre(!JSON.stringify(document).includes(marker));
      stack.upstream.answer = respondWithBody(mix(document, foreign));
      const { status, text, headers, body } = await read();
      expect(status).toBe(200);
      expect(text + JSON.stringify([...headers])).not.toContain(marker);
      expect(Object.keys(body.data ?? {})).toEqual(publicFields);
    }),
    { numRuns: 100 },
  );
});

test('in place of a public field nothing structured comes out: it is a 502', () => {
  fc.assert(
    fc.property(fc.constantFrom(...publicFields), marked, (name, value) => {
      fc.pre(typeof value !== 'string');
      expect(() => interpret({ ...campaignDocument('cmp_1'), [name]: value })).toThrow(UpstreamFailure);
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

test.each(violations)('a document whose %s is %j is no campaign', (field, value) => {
  const attempt = () => interpret({ ...campaignDocument('cmp_1'), [field]: value });
  expect(attempt).toThrow(expect.objectContaining({ reason: 'invalid_document' }));
});

test.each([
  '2026-01-01T00:00:00Z',
  '2024-02-29T23:59:59.123456789+14:00',
  '2000-02-29T00:00:00-00:00',
  '2016-12-31T23:59:60Z',
  '2026-01-01t00:00:00z',
  '0001-01-01T00:00:00Z',
])('the timestamp %s comes out as it came', (value) => {
  const meaning = interpret({ ...campaignDocument('cmp_1'), createdAt: value, startedAt: value });
  expect(meaning.outcome === 'found' && JSON.parse(meaning.data)).toMatchObject({ createdAt: value, startedAt: value });
});

test.each(['ag_2', '', null, 1, ['ag_1'], {}])(
  'a document with the account group %j is not found',
  (accountGroupId) => {
    expect(interpret({ ...campaignDocument('cmp_1'), accountGroupId })).toEqual({ outcome: 'foreign_account_group' });
    // The same however broken it is: the difference would tell that there is something.
    expect(interpret({ accountGroupId, name: 1 })).toEqual({ outcome: 'foreign_account_group' });
  },
);

test('a new status passes through', async () => {
  stack.upstream.answer = respondWithJson({ ...campaignDocument('cmp_1'), status: 'invented tomorrow' });
  expect((await read()).body.data?.['status']).toBe('invented tomorrow');
});

test('the campaign is found where the JSON pointer says, and nowhere else', async () => {
  const pointing = await stack.gateway({ CAMPAIGN_SERVICE_RESULT_POINTER: '/a~1b/0/m~0n' });
  const ask = async (document: unknown) => {
    stack.upstream.answer = respondWithJson(document);
    return (await get(pointing.url + campaignPath, { 'x-api-key': key })).status;
  };
  expect(await ask({ 'a/b': [{ 'm~n': campaignDocument('cmp_1') }] })).toBe(200);
  expect(await ask(campaignDocument('cmp_1'))).toBe(502);
  expect(await ask({ 'a/b': [] })).toBe(502);
  expect(await ask({ 'a/b': null })).toBe(502);
});
