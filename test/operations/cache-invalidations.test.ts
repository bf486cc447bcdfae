import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { FileKeyStore } from '../../src/keys/file-key-store.ts';
import { getCacheStatus, getName } from '../cache/fixture.ts';
import { cli } from '../helpers/cli.ts';
import type { GatewayProcess } from '../helpers/gateway.ts';
import { spawnGateway } from '../helpers/gateway.ts';
import { get } from '../helpers/http.ts';
import { makeKey } from '../helpers/keys.ts';
import { longTimeouts } from '../helpers/load.ts';
import { deferredResponse, respondWithName, Upstream } from '../helpers/upstream.ts';
import { until } from '../helpers/wait.ts';

const TOKEN = 'ops-secret';

let folder: string;
let upstream: Upstream;
let gateway: GatewayProcess;
let key: string;
beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'gateway-test-invalidations-'));
  const made = makeKey({ accountGroupIds: '*', rateLimits: ['1000000/1s'] });
  key = made.key;
  await new FileKeyStore(path.join(folder, 'keys.json')).create(made.record);
  await writeFile(path.join(folder, 'token'), `${TOKEN}\n`);
  upstream = await Upstream.start();
  gateway = await spawnGateway({
    KEYS_FILE: path.join(folder, 'keys.json'),
    OPS_TOKEN_FILE: path.join(folder, 'token'),
    CAMPAIGN_SERVICE_URL: upstream.url,
    CAMPAIGN_SERVICE_RETRIES: '0',
    CACHE_TTL_MS: '600000',
    ...longTimeouts,
  });
});
afterAll(async () => {
  await gateway.stop();
  await upstream.stop();
  await rm(folder, { recursive: true });
});

async function send(body: unknown, authorization: string | null = `Bearer ${TOKEN}`, target = '/cache/invalidations') {
  const response = await fetch(gateway.operationsUrl + target, {
    method: target === '/log-level' ? 'PUT' : 'POST',
    headers: { 'content-type': 'application/json', ...(authorization !== null && { authorization }) },
    body: typeof body === 'string' ? body : JSON.stringify(body),
  });
  return {
    status: response.status,
    headers: response.headers,
    body: (await response.json()) as Record<string, unknown>,
  };
}

const read = (group: string, campaign: string) =>
  get(`${gateway.url}/v1/accounts/${group}/campaigns/${campaign}`, { 'x-api-key': key });

async function fill(...campaigns: readonly string[]): Promise<void> {
  upstream.respond = respondWithName('old');
  for (const campaign of campaigns) await read('ag_1', campaign);
  upstream.respond = respondWithName('new');
}

test('a hard invalidation removes the campaign, so that the next read is forwarded', async () => {
  await fill('hard_1', 'hard_2');
  expect(await send({ accountGroupId: 'ag_1', campaignId: 'hard_1', mode: 'hard' })).toMatchObject({
    status: 202,
    body: { accepted: 1 },
  });
  const response = await read('ag_1', 'hard_1');
  expect([getName(response), getCacheStatus(response)]).toEqual(['new', 'fwd=uri-miss; stored']);
  expect(getName(await read('ag_1', 'hard_2'))).toBe('old');
});

test('a soft invalidation makes the campaign stale: the next read gets it at once and starts one refresh', async () => {
  await fill('soft');
  const refresh = deferredResponse(respondWithName('new'));
  upstream.respond = refresh;
  const before = upstream.requests.length;
  expect((await send({ accountGroupId: 'ag_1', campaignId: 'soft' })).status).toBe(202);
  for (let i = 0; i < 3; i++) {
    const stale = await read('ag_1', 'soft');
    expect([getName(stale), getCacheStatus(stale)]).toEqual(['old', expect.stringMatching(/^hit; ttl=-\d+$/)]);
  }
  refresh.open();
  await until(async () => getName(await read('ag_1', 'soft')) === 'new');
  expect(getCacheStatus(await read('ag_1', 'soft'))).toMatch(/^hit; ttl=\d/);
  expect(upstream.requests.length).toBe(before + 1);
});

test('an item without campaignId invalidates the whole account group, and no other group', async () => {
  await fill('g_1', 'g_2');
  upstream.respond = respondWithName('old');
  await read('ag_2', 'g_1');
  upstream.respond = respondWithName('new');
  expect((await send([{ accountGroupId: 'ag_1', mode: 'hard' }])).body).toEqual({ accepted: 1 });
  expect(getName(await read('ag_1', 'g_1'))).toBe('new');
  expect(getName(await read('ag_1', 'g_2'))).toBe('new');
  expect(getName(await read('ag_2', 'g_1'))).toBe('old');
});

test('a batch of 1,000 items is applied, and one of 1,001 is a 422', async () => {
  await fill('b_999');
  const items = Array.from({ length: 1001 }, (_, i) => ({
    accountGroupId: 'ag_1',
    campaignId: `b_${i}`,
    mode: 'hard',
  }));
  expect(await send(items)).toMatchObject({ status: 422, body: { error: 'Send at most 1000 items.' } });
  expect(getName(await read('ag_1', 'b_999'))).toBe('old');
  expect(await send(items.slice(0, 1000))).toMatchObject({ status: 202, body: { accepted: 1000 } });
  expect(getName(await read('ag_1', 'b_999'))).toBe('new');
});

test('if an item is invalid, the response names each invalid one by its index, and none is applied', async () => {
  await fill('untouched');
  const response = await send([
    { accountGroupId: 'ag_1', mode: 'hard' },
    { accountGroupId: 'a/b' },
    { accountGroupId: 'ag_1', campaignId: 'x', mode: 'medium' },
    { accountGroupId: 'ag_1', leadId: 'x' },
    null,
  ]);
  expect(response).toMatchObject({
    status: 422,
    body: { items: [{ index: 1 }, { index: 2, problems: ['mode must be soft or hard'] }, { index: 3 }, { index: 4 }] },
  });
  expect(getName(await read('ag_1', 'untouched'))).toBe('old');
});

test.each([
  ['a body that is not JSON is a 400', '{', 400],
  ['an empty object is a 422', '{}', 422],
  ['a text is a 422', '"ag_1"', 422],
  ['an empty batch is accepted', '[]', 202],
  ['a body over 256 KiB is a 413', JSON.stringify([{ accountGroupId: 'x'.repeat(256 * 1024) }]), 413],
])('%s', async (_what, body, status) => {
  expect((await send(body)).status).toBe(status);
});

describe('with OPS_TOKEN', () => {
  test.each(['/cache/invalidations', '/log-level'])(
    'a write request to %s without the token is a 401',
    async (target) => {
      for (const authorization of [null, 'Bearer wrong', `Basic ${TOKEN}`, 'Bearer', `Bearer ${TOKEN}x`]) {
        const { status, headers } = await send({ level: 'info' }, authorization, target);
        expect([status, headers.get('www-authenticate')]).toEqual([401, 'Bearer']);
      }
    },
  );

  test('a write request with the token and a read request without it are served', async () => {
    expect((await send({ level: 'info' }, `bearer ${TOKEN}`, '/log-level')).status).toBe(200);
    for (const target of ['/livez', '/readyz', '/metrics', '/log-level']) {
      expect((await fetch(gateway.operationsUrl + target)).status).toBe(200);
    }
  });
});

describe('the command line without REDIS_URL', () => {
  const run = (args: readonly string[], environment: Record<string, string> = {}) => {
    const { hostname, port } = new URL(gateway.operationsUrl);
    return cli(['cache', ...args], { OPS_HOST: hostname, OPS_PORT: port, OPS_TOKEN: TOKEN, ...environment });
  };

  test('cache invalidate makes campaigns of the running gateway stale, and cache purge removes them', async () => {
    await fill('cli_1', 'cli_2');
    const invalidate = ['invalidate', '--account-group', 'ag_1', '--campaign', 'cli_1', '--json'];
    expect(await run(invalidate)).toEqual({
      code: 0,
      stdout: expect.stringMatching(/"invalidated"/),
      stderr: '',
    });
    expect(getCacheStatus(await read('ag_1', 'cli_1'))).toMatch(/^hit; ttl=-/);
    expect((await run(['purge', '--account-group', 'ag_1'])).code).toBe(0);
    expect(getName(await read('ag_1', 'cli_2'))).toBe('new');
  });

  test.each([
    ['no gateway listens there', { OPS_PORT: '1' }, /^Error: No gateway responds at http:[^\n]+\.\n$/],
    ['no gateway listens on IPv6', { OPS_HOST: '::1', OPS_PORT: '1' }, /at http:\/\/\[::1\]:1: [^\n]+\.\n$/],
    ['the token is wrong', { OPS_TOKEN: 'wrong' }, /^Error: The gateway at [^\n]+ rejected OPS_TOKEN\.\n$/],
  ])('cache purge exits 69 with one sentence if %s', async (_why, environment, stderr) => {
    expect(await run(['purge', '--account-group', 'ag_1'], environment)).toEqual({
      code: 69,
      stdout: '',
      stderr: expect.stringMatching(stderr),
    });
  });
});

test('other methods on /cache/invalidations are a 405', async () => {
  const response = await fetch(`${gateway.operationsUrl}/cache/invalidations`);
  expect([response.status, response.headers.get('allow')]).toEqual([405, 'POST']);
});
