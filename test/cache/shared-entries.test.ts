import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { respondWithCampaign, respondWithJson } from '../helpers/upstream.ts';
import { until } from '../helpers/wait.ts';
import { Campaign, cached, getCacheStatus, startFleet } from './fixture.ts';

let { stack, fleet, advance }: Awaited<ReturnType<typeof startFleet>> = {} as never;
let campaign: Campaign;

beforeAll(async () => {
  ({ stack, fleet, advance } = await startFleet());
});
afterAll(() => stack.stop());
beforeEach(async () => {
  stack.upstream.respond = respondWithCampaign;
  campaign = await Campaign.create(stack);
});

test.each([
  ['while Redis has the 404', false, 404],
  ['after Redis evicted the 404', true, 502],
])(
  'when one gateway learns that a campaign is gone, no other serves it stale: %s',
  async (_when, isEvicted, status) => {
    const [a, b] = fleet;
    for (const gateway of [a, b]) await campaign.read(gateway);
    await campaign.untilReleased();
    await advance(100);
    stack.upstream.respond = respondWithJson({}, 404);
    expect((await campaign.read(a)).status).toBe(404);
    await campaign.untilReleased();
    if (isEvicted) await stack.redis.client.del(campaign.entryKey);
    // Both could serve their own entry while the campaign service fails, but a purge reaches them.
    stack.upstream.respond = respondWithJson({}, 500);
    await until(async () => (await campaign.read(b)).status === status);
    await advance(6);
    for (const gateway of [a, b]) expect((await campaign.read(gateway)).status).toBe(502);
  },
);

test('a shared entry is fresh no longer than the settings of the gateway that reads it allow', async () => {
  await campaign.read(fleet[0]);
  await campaign.untilStored();
  await advance(20);
  const strict = { ...cached, CACHE_TTL_MS: '10000', CACHE_STALE_WHILE_REVALIDATE_MS: '0' };
  expect(getCacheStatus(await campaign.read(await stack.gateway(strict)))).toBe('fwd=stale; stored');
});

// A record is a line of JSON, then the document.
const changeHead = (change: (head: Record<string, unknown>) => unknown) => (stored: string) =>
  stored.replace(/\{.*$/m, (head) => JSON.stringify(change(JSON.parse(head))));
const changeData = (change: (data: Record<string, unknown>) => Record<string, unknown>) => (stored: string) =>
  stored.replace(/(?<=\n).*$/, (data) => JSON.stringify(change(JSON.parse(data))));

const corruptions: Record<string, (stored: string) => string> = {
  'an empty string': () => '',
  'a truncated entry': (stored) => stored.slice(0, -20),
  'no origination time': (stored) => stored.slice(stored.indexOf(' ') + 1),
  'an origination time in the future': (stored) => stored.replace(/^\d+/, '99999999999999999999999'),
  'an entry of 1970 that claims to be fresh': (stored) => stored.replace(/^\d+ \d+/, '300 9999999999999'),
  'a record of another path': changeHead((record) => ({ ...record, path: '/v1/accounts/ag_2/campaigns/cmp_1' })),
  'a null record': changeHead(() => null),
  'a negative lifetime': changeHead((record) => ({ ...record, lifetime: { freshMs: -1 } })),
  'content without a document': changeHead((record) => ({ ...record, content: { outcome: 'found' } })),
  'an unknown outcome': changeHead((record) => ({ ...record, content: { outcome: 'toString' } })),
  'a document with a workflow': changeData((data) => ({ ...data, workflowDefinition: 'workflow-secret' })),
  'another campaign': changeData((data) => ({ ...data, id: 'cmp_2' })),
  'a document without a required field': changeData(({ name: _name, ...data }) => data),
  'a document that does not match its entity tag': changeData((data) => ({ ...data, name: 'workflow-secret' })),
  'a document with reordered fields': changeData((data) => Object.fromEntries(Object.entries(data).reverse())),
};

test.each(Object.entries(corruptions))(
  'a corrupt shared entry is never served, and is overwritten: %s',
  async (_what, corrupt) => {
    const { client } = stack.redis;
    await campaign.read(fleet[0]);
    await client.set(campaign.entryKey, corrupt(await campaign.untilStored()));
    const response = await campaign.read(fleet[1]);
    expect(response.status).toBe(200);
    expect(getCacheStatus(response)).toMatch(/^fwd=(?:uri-miss|stale); stored$/);
    expect(response.text).not.toContain('secret');
    await campaign.untilReleased();
    expect(getCacheStatus(await campaign.read(fleet[2]))).toMatch(/^hit/);
    expect(campaign.requests).toHaveLength(2);
  },
);
