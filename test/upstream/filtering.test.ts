import fc from 'fast-check';
import pino from 'pino';
import { expect, onTestFinished, test } from 'vitest';
import type { Endpoint } from '../../src/endpoints/endpoint.ts';
import { readCampaign } from '../../src/endpoints/read-campaign.ts';
import { loadSettings } from '../../src/settings/load.ts';
import { createDrift, type Drift } from '../../src/upstream/drift.ts';
import { UpstreamFailure } from '../../src/upstream/failure.ts';
import { parseReply } from '../../src/upstream/parse-document.ts';
import { get } from '../helpers/http.ts';
import { readSeries, scrapeUntil, sumSeries } from '../helpers/prometheus.ts';
import { readOrder } from '../helpers/second-endpoint.ts';
import { campaignPath, Stack } from '../helpers/stack.ts';
import { campaignDocument, respondWithJson } from '../helpers/upstream.ts';
import { startUncached } from './start-uncached.ts';

const createEndpoint = (settings = {}) => readCampaign(loadSettings({ CAMPAIGN_SERVICE_URL: 'http://a', ...settings }));
const endpoint = createEndpoint();
const ids = { accountGroupId: 'ag_1', campaignId: 'cmp_1', orderId: 'ord_1' };

function parse(document: unknown, of: Endpoint = endpoint, drift?: Drift) {
  const body = Buffer.from(JSON.stringify(document));
  const parsed = parseReply(of, ids, { outcome: 'found', status: 200, headers: {}, body }, drift);
  return parsed.outcome === 'found' ? JSON.parse(parsed.data) : parsed;
}

const publicFields = Object.keys(endpoint.response.shape);
const timestamps = ['createdAt', 'updatedAt', 'startedAt', 'rateLimitedUntil'];
const booleans = ['includeConversationHistory', 'autoCancelOnMessageReceived'] as const;
const required = ['id', 'name', 'status', 'selectedLeadCount', ...booleans, 'createdAt', 'updatedAt'] as const;
const marker = 'internal-only';

const specialNames = ['workflowDefinition', 'ID', 'status ', 'data', '__proto__', 'constructor', 'toJSON', marker];
const anyName = fc.oneof(fc.string(), fc.constantFrom('id', 'name', ...specialNames));
const unknownName = anyName.filter((name) => !publicFields.includes(name) && name !== 'accountGroupId');
const markedValue = fc.anything({ key: anyName, values: [fc.constant(marker)], maxDepth: 3, maxKeys: 3 });
const unknownFields = fc.dictionary(unknownName, markedValue, { minKeys: 1, maxKeys: 8 });

const nullable = <T>(value: fc.Arbitrary<T>) => fc.option(value, { nil: null });
const timestamp = fc
  .date({ min: new Date(0), max: new Date('9999-12-31T23:59:59Z'), noInvalidDate: true })
  .map((date) => date.toISOString());

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

test('unknown fields are dropped at any depth and under any name, and public fields pass through unchanged', async () => {
  const embedded = await startUncached();
  await fc.assert(
    fc.asyncProperty(campaign, unknownFields, fc.boolean(), async (document, unknown, isUnknownFirst) => {
      const sent = isUnknownFirst ? { ...unknown, ...document } : { ...document, ...unknown };
      embedded.upstream.respond = respondWithJson(sent);
      const { status, headers, text, body } = await embedded.read();
      expect(status).toBe(200);
      expect(text + JSON.stringify([...headers])).not.toContain(marker);
      const expected = publicFields.map((name) => [name, document[name as keyof typeof document] ?? null]);
      expect(Object.entries(body.data ?? {})).toEqual(expected);
    }),
    { numRuns: 200 },
  );
});

const invalidTimestamps = [
  ...['', '2026-01-01', '2026-01-01T00:00Z', '2026-01-01T00:00:00', '2026-01-01 00:00:00Z', '2026-02-29T00:00:00Z'],
  ...['2026-13-01T00:00:00Z', '2026-00-10T00:00:00Z', '2026-01-32T00:00:00Z', '2026-01-01T24:00:00Z'],
  ...['2026-01-01T00:60:00Z', '2026-01-01T00:00:00+25:00', '2026-01-01T00:00:00.Z', 'Thu, 01 Jan 2026 00:00:00 GMT'],
  1767225600000,
];

test.each<[kind: string, fields: readonly string[], invalid: readonly unknown[]]>([
  ['a required field that is missing or null', required, [undefined, null]],
  ['an object or array', publicFields, [{}, [], ['x']]],
  ['a number for a text', ['id', 'name', 'status', 'description', 'outreachLanguage'], [1]],
  ['a text or number for a boolean', booleans, ['true', 1]],
  ['any lead count but a safe integer from 0', ['selectedLeadCount'], [-1, 1.5, '25', true, 2 ** 53]],
  ['a timestamp that RFC 3339 does not allow', timestamps, invalidTimestamps],
  ['another id than the requested one', ['id'], ['cmp_2', 'CMP_1', '']],
])('%s makes the document invalid', (_kind, fields, values) => {
  for (const field of fields) {
    for (const value of values) {
      const parseDocument = () => parse({ ...campaignDocument('cmp_1'), [field]: value });
      expect(parseDocument, `${field}: ${value}`).toThrow(expect.objectContaining({ reason: 'invalid_document' }));
    }
  }
});

test('every timestamp that RFC 3339 allows passes through unchanged', () => {
  const valid = ['2026-01-01t00:00:00z', '2024-02-29T23:59:59.123456789+14:00', '2000-02-29T00:00:00-00:00'];
  for (const value of [...valid, '2016-12-31T23:59:60Z', '0001-01-01T00:00:00Z']) {
    const data = parse({ ...campaignDocument('cmp_1'), createdAt: value, startedAt: value });
    expect(data).toMatchObject({ createdAt: value, startedAt: value });
  }
});

test('a document of another account group is reported as foreign, valid or not', () => {
  for (const accountGroupId of ['ag_2', '', null, 1, ['ag_1'], {}]) {
    expect(parse({ ...campaignDocument('cmp_1'), accountGroupId })).toEqual({ outcome: 'foreign_account_group' });
    // A different result for an invalid document would reveal that it exists.
    expect(parse({ accountGroupId, name: 1 })).toEqual({ outcome: 'foreign_account_group' });
  }
});

test('CAMPAIGN_SERVICE_RESULT_POINTER selects the document, and nothing else is accepted', () => {
  const nested = createEndpoint({ CAMPAIGN_SERVICE_RESULT_POINTER: '/a~1b/0/m~0n' });
  const document = campaignDocument('cmp_1');
  expect(parse({ 'a/b': [{ 'm~n': document }] }, nested)).toMatchObject({ id: 'cmp_1' });
  for (const other of [document, { 'a/b': [] }, { 'a/b': null }]) {
    expect(() => parse(other, nested)).toThrow(UpstreamFailure);
  }
});

test('dropped and invalid fields are counted by name, never with a value, and each name is logged once', async () => {
  const stack = await Stack.start();
  onTestFinished(() => stack.stop());
  const gateway = await stack.gatewayProcess();
  const headers = { 'x-api-key': await stack.key() };
  const document = campaignDocument('cmp_1', 'ag_1');
  stack.upstream.respond = respondWithJson({ ...document, 'secret@example.test': 'secret' });
  for (let i = 0; i < 4; i++) await get(gateway.url + campaignPath, headers);
  stack.upstream.respond = respondWithJson({ ...document, status: ['secret'], name: null });
  for (let i = 0; i < 3; i++) await get(gateway.url + campaignPath, headers);
  const invalid = 'campaign_gateway_upstream_fields_invalid_total';
  const scrape = await scrapeUntil(gateway, (scraped) => sumSeries(scraped, invalid) === 6);
  const dropped = readSeries(scrape, 'campaign_gateway_upstream_fields_dropped_total');
  expect(dropped).toEqual({ workflowDefinition: 4, other: 4 });
  expect(readSeries(scrape, invalid)).toEqual({ status: 3, name: 3 });
  const logged = gateway.log.flatMap(({ field }) => field ?? []);
  expect(logged.sort()).toEqual(['name', 'other', 'status', 'workflowDefinition']);
  expect(JSON.stringify(gateway.log)).not.toContain('secret');
});

test('a nested field is counted by its path, nothing within a dropped field is, and at most 100 names are distinguished', () => {
  const fields: string[] = [];
  const log = pino({ hooks: { logMethod: ([first]) => fields.push((first as unknown as { field: string }).field) } });
  const drift = createDrift(log);
  const order = { id: 'ord_1', items: [1, 2].map((quantity) => ({ quantity, price: { net: 1 } })) };
  parse({ ...order, accountGroupId: undefined, owner: { token: 'secret' } }, readOrder, drift);
  expect(fields.splice(0)).toEqual(['items[].price', 'owner']);
  for (const invalid of [{ ...order, items: [{ quantity: 'secret' }] }, { ...order, id: 'ord_2' }, null]) {
    expect(() => parse(invalid, readOrder, drift)).toThrow('the ');
  }
  expect(fields.splice(0)).toEqual(['items[].quantity', 'id', '(document)']);
  const crowded = Object.fromEntries(Array.from({ length: 200 }, (_, i) => [`field_${i}`, i]));
  parse({ ...order, ...crowded }, readOrder, drift);
  expect(fields).toEqual([...Object.keys(crowded).slice(0, 98), 'other']);
});
