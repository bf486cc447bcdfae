import { once } from 'node:events';
import { createServer } from 'node:http';
import path from 'node:path';
import { afterAll, beforeAll, beforeEach, expect, onTestFinished, test } from 'vitest';
import { FileKeyStore } from '../../src/keys/file-key-store.ts';
import { getCacheStatus, getName } from '../cache/fixture.ts';
import { cli } from '../helpers/cli.ts';
import { createFolder } from '../helpers/folder.ts';
import { type GatewayProcess, spawnGateway } from '../helpers/gateway.ts';
import { get } from '../helpers/http.ts';
import { makeKey } from '../helpers/keys.ts';
import { longTimeouts } from '../helpers/load.ts';
import { respondWithName, Upstream } from '../helpers/upstream.ts';
import { until } from '../helpers/wait.ts';

const TOKEN = 'ops-secret';

let upstream: Upstream;
let gateway: GatewayProcess;
let key: string;
beforeAll(async () => {
  const made = makeKey({ accountGroupIds: '*', rateLimits: ['1000000/1s'] });
  key = made.key;
  const KEYS_FILE = path.join(createFolder(), 'keys.json');
  await new FileKeyStore(KEYS_FILE).create(made.record);
  upstream = await Upstream.start();
  gateway = await spawnGateway({
    KEYS_FILE,
    OPS_TOKEN: TOKEN,
    CAMPAIGN_SERVICE_URL: upstream.url,
    CAMPAIGN_SERVICE_RETRIES: '0',
    CACHE_TTL_MS: '600000',
    ...longTimeouts,
  });
});
afterAll(async () => {
  await gateway.stop();
  upstream.stop();
});

async function send(body: unknown, authorization: string | null = `Bearer ${TOKEN}`, target = '/cache/invalidations') {
  const response = await fetch(gateway.operationsUrl + target, {
    method: target === '/log-level' ? 'PUT' : 'POST',
    headers: { 'content-type': 'application/json', ...(authorization !== null && { authorization }) },
    body: typeof body === 'string' ? body : JSON.stringify(body),
  });
  const { status, headers } = response;
  return { status, headers, body: (await response.json()) as Record<string, unknown> };
}

let accountGroupId = 'ag_0';
beforeEach(() => {
  accountGroupId = `ag_${Number(accountGroupId.slice(3)) + 1}`; // So that no test depends on the entries of another.
});

const read = (campaignId: string, group = accountGroupId) =>
  get(`${gateway.url}/v1/accounts/${group}/campaigns/${campaignId}`, { 'x-api-key': key });

/** Caches the campaigns, and changes them at the campaign service. */
async function fill(...campaignIds: string[]): Promise<void> {
  upstream.respond = respondWithName('old');
  for (const campaignId of campaignIds) await read(campaignId);
  upstream.respond = respondWithName('new');
}

test('without a mode an invalidation is soft: the next read gets the stale campaign at once and starts a refresh', async () => {
  await fill('cmp_1');
  expect((await send({ accountGroupId, campaignId: 'cmp_1' })).status).toBe(202);
  const stale = await read('cmp_1');
  expect([getName(stale), getCacheStatus(stale)]).toEqual(['old', expect.stringMatching(/^hit; ttl=-\d+$/)]);
  await until(async () => getName(await read('cmp_1')) === 'new');
});

test('a batch of 1,000 hard invalidations is in force at once, and one of 1,001 is a 422', async () => {
  await fill('cmp_999');
  const items = Array.from({ length: 1001 }, (_, i) => ({ accountGroupId, campaignId: `cmp_${i}`, mode: 'hard' }));
  expect(await send(items)).toMatchObject({ status: 422, body: { error: 'Send at most 1000 items.' } });
  expect(getName(await read('cmp_999'))).toBe('old');
  expect(await send(items.slice(0, 1000))).toMatchObject({ status: 202, body: { accepted: 1000 } });
  expect(getName(await read('cmp_999'))).toBe('new');
});

test('if an item is invalid, the response names each invalid one by its index, and none is applied', async () => {
  await fill('cmp_1');
  const response = await send([
    { accountGroupId, mode: 'hard' },
    { accountGroupId: 'a/b' },
    { accountGroupId, campaignId: 'x', mode: 'medium' },
    { accountGroupId, leadId: 'x' },
    null,
  ]);
  expect(response).toMatchObject({
    status: 422,
    body: { items: [{ index: 1 }, { index: 2, problems: ['mode must be soft or hard'] }, { index: 3 }, { index: 4 }] },
  });
  expect(getName(await read('cmp_1'))).toBe('old');
});

test.each([
  ['a body that is not JSON is a 400', '{', 400],
  ['an empty object is a 422', '{}', 422],
  ['an empty batch is accepted', '[]', 202],
  ['a body over 256 KiB is a 413', JSON.stringify([{ accountGroupId: 'x'.repeat(256 * 1024) }]), 413],
])('%s', async (_what, body, status) => {
  expect((await send(body)).status).toBe(status);
});

test('other methods on /cache/invalidations are a 405', async () => {
  const response = await fetch(`${gateway.operationsUrl}/cache/invalidations`);
  expect([response.status, response.headers.get('allow')]).toEqual([405, 'POST']);
});

test('with OPS_TOKEN a write request without the token is a 401, and read requests need none', async () => {
  for (const target of ['/cache/invalidations', '/log-level']) {
    for (const authorization of [null, 'Bearer wrong', `Basic ${TOKEN}`, 'Bearer', `Bearer ${TOKEN}x`]) {
      const { status, headers } = await send({ level: 'info' }, authorization, target);
      expect([status, headers.get('www-authenticate')]).toEqual([401, 'Bearer']);
    }
  }
  expect((await send({ level: 'info' }, `bearer ${TOKEN}`, '/log-level')).status).toBe(200);
  for (const target of ['/livez', '/readyz', '/metrics', '/log-level']) {
    expect((await fetch(gateway.operationsUrl + target)).status).toBe(200);
  }
});

const run = (args: readonly string[], environment: Record<string, string> = {}) => {
  const { hostname, port } = new URL(gateway.operationsUrl);
  return cli(['cache', ...args], { OPS_HOST: hostname, OPS_PORT: port, OPS_TOKEN: TOKEN, ...environment });
};

test('without REDIS_URL, cache invalidate makes a campaign of the running gateway stale, and cache purge removes an account group', async () => {
  await fill('cmp_1', 'cmp_2');
  await read('cmp_1', 'ag_other');
  const isFresh = expect.stringMatching(/^hit; ttl=\d/);
  const invalidate = ['invalidate', '--account-group', accountGroupId, '--campaign', 'cmp_1', '--json'];
  expect(await run(invalidate)).toEqual({ code: 0, stdout: expect.stringMatching(/"invalidated"/), stderr: '' });
  expect(getCacheStatus(await read('cmp_1'))).toMatch(/^hit; ttl=-/);
  expect(getCacheStatus(await read('cmp_2'))).toEqual(isFresh);
  expect((await run(['purge', '--account-group', accountGroupId])).code).toBe(0);
  expect(getName(await read('cmp_2'))).toBe('new');
  expect(getCacheStatus(await read('cmp_1', 'ag_other'))).toEqual(isFresh);
});

test('without REDIS_URL, cache purge reaches a gateway at a port that fetch refuses', async () => {
  const OPS_HOST = `127.0.0.${(process.pid % 250) + 2}`; // So that another process does not use the port.
  const server = createServer((_request, response) => void response.writeHead(202).end());
  await once(server.listen(10_080, OPS_HOST), 'listening');
  onTestFinished(() => void server.close());
  const purge = await run(['purge', '--account-group', 'ag_1'], { OPS_HOST, OPS_PORT: '10080' });
  expect(purge).toMatchObject({ code: 0, stderr: '' });
});

test.each([
  ['no gateway listens there', { OPS_PORT: '1' }, /^Error: No gateway responds at http:[^\n]+\.\n$/],
  ['the token is wrong', { OPS_TOKEN: 'wrong' }, /^Error: The gateway at [^\n]+ rejected OPS_TOKEN\.\n$/],
])('without REDIS_URL, cache purge exits 69 with one sentence if %s', async (_why, environment, stderr) => {
  const result = await run(['purge', '--account-group', 'ag_1'], environment);
  expect(result).toEqual({ code: 69, stdout: '', stderr: expect.stringMatching(stderr) });
});
