import pino from 'pino';
import { expect, test } from 'vitest';
import { createDrift } from '../../src/upstream/drift.ts';
import { parseReply } from '../../src/upstream/parse-document.ts';
import { get } from '../helpers/http.ts';
import { type Scrape, scrapeUntil, sumSeries } from '../helpers/prometheus.ts';
import { readOrder } from '../helpers/second-endpoint.ts';
import { Stack } from '../helpers/stack.ts';
import { campaignDocument, respondWithJson } from '../helpers/upstream.ts';
import { startTwoWorkers } from '../helpers/workers.ts';

const DROPPED = 'campaign_gateway_upstream_fields_dropped_total';
const INVALID = 'campaign_gateway_upstream_fields_invalid_total';

const countByField = (scrape: Scrape, name: string) =>
  Object.fromEntries((scrape.get(name)?.samples ?? []).map(({ labels, value }) => [labels['field'], value]));

test('dropped and invalid fields are counted by name over all workers, never with a value, and each name is logged once', async () => {
  const stack = await Stack.start();
  try {
    const gateway = await startTwoWorkers(stack, { CACHE_TTL_MS: '0' });
    const key = await stack.key();
    const read = () => get(`${gateway.url}/v1/accounts/ag_1/campaigns/cmp_1`, { 'x-api-key': key });
    const document = campaignDocument('cmp_1', 'ag_1');
    stack.upstream.respond = respondWithJson({ ...document, 'secret@example.test': 'secret' });
    for (let i = 0; i < 4; i++) expect((await read()).status).toBe(200);
    stack.upstream.respond = respondWithJson({ ...document, status: ['secret'], name: null });
    for (let i = 0; i < 3; i++) expect((await read()).status).toBe(502);
    const scrape = await scrapeUntil(gateway, (scraped) => sumSeries(scraped, INVALID) === 6);
    expect(countByField(scrape, DROPPED)).toEqual({ workflowDefinition: 4, other: 4 });
    expect(countByField(scrape, INVALID)).toEqual({ status: 3, name: 3 });
    const lines = gateway.log.filter(({ field }) => field !== undefined).map(({ pid, field }) => `${pid} ${field}`);
    expect(new Set(lines).size).toBe(lines.length);
    expect(lines.join()).toMatch(/workflowDefinition.*status/);
    expect(JSON.stringify(gateway.log)).not.toContain('secret');
    const crowded = Object.fromEntries(Array.from({ length: 200 }, (_, i) => [`field_${i}`, i]));
    stack.upstream.respond = respondWithJson({ ...document, ...crowded });
    await read();
    const after = await scrapeUntil(gateway, (scraped) => sumSeries(scraped, DROPPED) === 8 + 201);
    expect(Object.keys(countByField(after, DROPPED)).length).toBeLessThanOrEqual(101);
  } finally {
    await stack.stop();
  }
});

test('a nested field is counted by its path, and nothing within a dropped field is', () => {
  const fields: string[] = [];
  const log = pino({ hooks: { logMethod: ([first]) => fields.push((first as unknown as { field: string }).field) } });
  const drift = createDrift(log);
  const parse = (order: unknown) =>
    parseReply(
      readOrder,
      { orderId: 'ord_1' },
      { outcome: 'found', status: 200, headers: {}, body: Buffer.from(JSON.stringify(order)) },
      drift,
    );
  const items = [
    { quantity: 1, price: { net: 1 } },
    { quantity: 2, price: { net: 2 } },
  ];
  parse({ id: 'ord_1', accountGroupId: undefined, owner: { token: 'secret' }, items });
  expect(fields).toEqual(['owner', 'items[].price']);
  for (const invalid of [{ id: 'ord_1', items: [{ quantity: 'secret' }] }, { id: 'ord_2', items: [] }, null]) {
    expect(() => parse(invalid)).toThrow('the ');
  }
  expect(fields.slice(2)).toEqual(['items[].quantity', 'id', '(document)']);
});
