import { mkdtemp, rm } from 'node:fs/promises';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import path from 'node:path';
import fc from 'fast-check';
import { pino } from 'pino';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { cachePolicy } from '../../src/cache/freshness.ts';
import { type Explanation, explain } from '../../src/cli/explain-stages.ts';
import { openInspector, type StoreInspector } from '../../src/cli/open-stores.ts';
import { publicEndpoints } from '../../src/endpoints/index.ts';
import { parseRateLimit } from '../../src/rate-limit/rate-limiter.ts';
import { loadSettings } from '../../src/settings/load.ts';
import { ageSharedEntries } from '../helpers/clock.ts';
import { type InProcessGateway, runProgram } from '../helpers/gateway.ts';
import { get } from '../helpers/http.ts';
import type { KeyRights } from '../helpers/keys.ts';
import { campaignPath, Stack } from '../helpers/stack.ts';
import { requestIds, respondWithCampaign, respondWithJson } from '../helpers/upstream.ts';
import { until } from '../helpers/wait.ts';

let stack: Stack;
let inspection: StoreInspector;
let environment: Record<string, string>;

beforeAll(async () => {
  stack = await Stack.start();
  environment = {
    ...stack.environment,
    CACHE_TTL_MS: '30000',
    RATE_LIMIT_DEFAULT: '1000/1h',
    AUTH_FAILURE_LIMIT: '9999/1s',
  };
  inspection = await openInspector(loadSettings(environment), pino({ level: 'silent' }));
});
afterAll(async () => {
  await inspection.close();
  await stack.stop();
});
beforeEach(() => {
  stack.upstream.respond = (request, response) =>
    (requestIds(request).campaignId.includes('missing') ? respondWithJson({}, 404) : respondWithCampaign)(
      request,
      response,
    );
});

const idOf = (key: string) => key.split('_')[1] as string;

async function explained(key: string, target: string): Promise<Explanation> {
  const settings = loadSettings(environment);
  const record = await inspection.keys.find(idOf(key));
  if (!record) throw new Error('no such key');
  return explain(record, target, {
    ...inspection,
    endpoints: publicEndpoints(settings),
    defaultLimit: parseRateLimit(settings.RATE_LIMIT_DEFAULT),
    cachePolicy: cachePolicy(settings),
    now: Date.now,
  });
}

/** The path as it stands: fetch would mend it. */
async function ask(gateway: InProcessGateway, key: string, target: string) {
  const { promise, resolve, reject } = Promise.withResolvers<{ status: number; body: string }>();
  const options = { path: target, headers: { 'x-api-key': key }, agent: false };
  request(gateway.url, options, (response) => {
    let body = '';
    response.setEncoding('utf8').on('data', (text) => {
      body += text;
    });
    response.on('end', () => resolve({ status: response.statusCode ?? 0, body }));
  })
    .on('error', reject)
    .end();
  const { status, body } = await promise;
  return { status, error: JSON.parse(body).error };
}

const yesterday = new Date(Date.now() - 86_400_000).toISOString();
const tomorrow = new Date(Date.now() + 86_400_000).toISOString();
const rights: [name: string, rights: KeyRights, requestsBefore: number][] = [
  ['all is right', {}, 0],
  ['all groups, an end to come', { accountGroupIds: '*', expiresAt: tomorrow }, 0],
  ['two groups, several limits', { accountGroupIds: ['ag_1', 'ag_2'], rateLimits: ['500/1h', '900/1d'] }, 3],
  ['a group of its own', { accountGroupIds: ['ag_9'] }, 0],
  ['many permissions', { permissions: ['a:b', 'campaigns:read', 'c:d'] }, 0],
  ['another permission', { permissions: ['campaigns:write'] }, 0],
  ['another permission and group', { permissions: ['campaigns:write'], accountGroupIds: ['ag_9'] }, 0],
  ['expired', { expiresAt: yesterday }, 0],
  ['revoked', { revokedAt: yesterday }, 0],
  ['revoked and of no use anyway', { revokedAt: yesterday, expiresAt: yesterday, permissions: ['a:b'] }, 0],
  ['used up', { rateLimits: ['2/1d'] }, 2],
  ['used up by one of its limits, no permission', { rateLimits: ['1/1d', '900/1h'], permissions: ['a:b'] }, 1],
];

const targets = [
  campaignPath,
  '/v1/accounts/ag_1/campaigns/cmp_2?format=full',
  '/v1/accounts/ag_1/campaigns/cmp_missing',
  '/v1/accounts/ag_2/campaigns/cmp_1',
  '/v1/accounts/ag_9/campaigns/cmp_1',
  `/v1/accounts/ag_1/campaigns/${'c'.repeat(64)}`,
  `/v1/accounts/ag_1/campaigns/${'c'.repeat(65)}`,
  '/v1/accounts/ag_9/campaigns/c.m.p',
  '/v1/accounts/ag.1/campaigns/c.m.p',
  '/v1/accounts/ag_1/campaigns/cmp%2F1',
  '/v1/accounts/ag_1/campaigns/%63mp_1',
  '/v1/accounts/ag_1/campaigns/cmp#1',
  '/v1/accounts/ag_1/campaigns/..',
  '/v1/accounts/ag_1/campaigns/',
  '/v1/accounts/ag_1/campaigns/cmp_1/',
  '/v1/accounts//ag_1/campaigns/cmp_1',
  '/V1/accounts/ag_1/campaigns/cmp_1',
  '/v1/accounts/ag_1/campaigns/cmp_1/steps',
  '/v1/accounts/ag_1',
  '//',
  '/openapi.yaml',
];

const piece = fc.constantFrom(
  'v1',
  'accounts',
  'campaigns',
  'ag_1',
  'cmp_1',
  '',
  '.',
  '%41',
  'A',
  'ag-9',
  ';',
  '@:',
  '*',
);
const strangePath = fc.oneof(
  fc.array(piece, { maxLength: 7 }).map((pieces) => `/${pieces.join('/')}`),
  fc.tuple(piece, piece).map(([group, campaign]) => `/v1/accounts/${group}/campaigns/${campaign}`),
);

test(`what is explained for ${rights.length} keys and some 40 paths is what the gateway does`, async () => {
  const gateway = await stack.gateway({ ...environment, DOCS: 'false' }); // Explained are the endpoints.
  const all = [...targets, ...fc.sample(strangePath, 20)];
  for (const [name, keyRights, requestsBefore] of rights) {
    const key = await stack.key(keyRights);
    for (let i = 0; i < requestsBefore; i++) await ask(gateway, key, campaignPath);
    for (const target of all) {
      const { response: answer, stages } = await explained(key, target);
      const { status, error } = await ask(gateway, key, target);
      const decisive = stages.find(({ result: verdict }) => verdict !== 'passes');
      const expected = { status, code: error?.code ?? null };
      if (answer) expect([name, target, answer]).toEqual([name, target, expected]);
      else expect([name, target, [200, 404].includes(status)]).toEqual([name, target, true]);
      // What the caller reads is what is explained, but for what the caller is not told.
      if (status === 403 || status === 400) expect(decisive?.details).toBe(error.details);
      expect(stages.map(({ stage }) => stage).slice(0, 2)).toEqual(['key', 'limit']);
    }
  }
});

describe('explaining', () => {
  test('costs no request, forwards nothing, and asks for no lease', async () => {
    const key = await stack.key({ rateLimits: ['10/1d'] });
    const gateway = await stack.gateway(environment);
    await ask(gateway, key, campaignPath);
    const before = stack.upstream.requests.length;
    const keys = async () => (await stack.redis.client.keys('*')).sort();
    const known = await keys();
    for (let i = 0; i < 20; i++) {
      const { stages } = await explained(key, `/v1/accounts/ag_1/campaigns/cmp_unseen`);
      expect(stages[1]).toMatchObject({ verdict: 'passes', details: '9 of 10 requests a 86400 s window left.' });
    }
    expect(await keys()).toEqual(known);
    expect(stack.upstream.requests.length).toBe(before);
    const { headers } = await get(gateway.url + campaignPath, { 'x-api-key': key });
    expect(headers.get('ratelimit')).toMatch(/^"default";r=8;/);
  });

  test('the cache: nothing yet, fresh, stale, stale for failures alone, not found, and of any age the campaign service decides', async () => {
    const key = await stack.key();
    const gateway = await stack.gateway(environment);
    const cacheOf = async (target: string) => (await explained(key, target)).stages.at(-1);
    const [target, missing] = ['/v1/accounts/ag_1/campaigns/cmp_aged', '/v1/accounts/ag_1/campaigns/missing_2'];
    expect(await cacheOf(target)).toMatchObject({ verdict: 'passes', status: null });
    for (const path of [target, missing]) await ask(gateway, key, path);
    // The entry is written behind the answer.
    await until(async () => (await cacheOf(target))?.result === 'answers');
    expect(await cacheOf(target)).toMatchObject({
      status: 200,
      ageSeconds: 0,
      details: 'The entry is 0 s old and fresh.',
    });
    await until(async () => (await cacheOf(missing))?.result === 'answers');
    expect(await cacheOf(missing)).toMatchObject({ status: 404, code: 'NOT_FOUND' });
    await ageSharedEntries(stack.redis.client, 40_000);
    expect(await cacheOf(target)).toMatchObject({
      verdict: 'answers',
      status: 200,
      details: expect.stringContaining('stale'),
    });
    expect(await cacheOf(missing)).toMatchObject({ verdict: 'passes' });
    await ageSharedEntries(stack.redis.client, 60_000);
    const old = await cacheOf(target);
    expect(old).toMatchObject({
      verdict: 'passes',
      details: expect.stringContaining('only if the campaign service fails'),
    });
    expect(old?.ageSeconds).toBeGreaterThanOrEqual(100);
  });
});

describe('the command', () => {
  const cli = (args: string[], more: Record<string, string> = {}) =>
    runProgram('src/cli/main.ts', ['explain', ...args], { ...environment, ...more });

  test('tells people a table and an answer, programs one JSON value', async () => {
    const key = await stack.key({ accountGroupIds: ['ag_9'] });
    const unread = '/v1/accounts/ag_1/campaigns/cmp_unread';
    const args = ['--key-id', idOf(key), '--path', unread];
    const [people, program] = await Promise.all([cli(args), cli([...args, '--json'])]);
    expect([people.code, people.stderr]).toEqual([0, '']);
    expect(people.stdout).toMatch(/^account group +refuses 403 +This key has no access to this account group\.$/m);
    expect(people.stdout).toMatch(/^Answer: 403 FORBIDDEN$/m);
    const { keyId, path: target, stages, answer } = JSON.parse(program.stdout);
    expect([keyId, target, answer]).toEqual([idOf(key), unread, { status: 403, code: 'FORBIDDEN' }]);
    expect(stages.map(({ stage, verdict }: { stage: string; verdict: string }) => [stage, verdict])).toEqual([
      ['key', 'passes'],
      ['limit', 'passes'],
      ['permission', 'passes'],
      ['parameters', 'passes'],
      ['accountGroup', 'refuses'],
      ['cache', 'passes'],
    ]);
  });

  test('with a keys file says what is in the memory of the gateway alone', async () => {
    const folder = await mkdtemp(path.join(tmpdir(), 'gateway-test-explain-'));
    const own = { REDIS_URL: '', KEYS_FILE: path.join(folder, 'keys.json') };
    const create = 'keys create --name a --permission campaigns:read --account-group ag_1 --json'.split(' ');
    const { id } = JSON.parse((await runProgram('src/cli/main.ts', create, own)).stdout);
    const { stdout } = await cli(['--key-id', id, '--path', campaignPath], own);
    expect(stdout).toMatch(/^limit +unknown/m);
    expect(stdout).toMatch(/^cache +unknown/m);
    expect(stdout).toMatch(/^Answer: depends on the gateway's own memory$/m);
    await rm(folder, { recursive: true });
  });

  test.each([
    [64, []],
    [64, ['--key-id', 'a']],
    [64, ['--path', '/a']],
    [64, ['--key-id', 'a', '--path', 'v1']],
    [64, ['--key-id', 'a', '--path', '/a b']],
    [64, ['--key-id', 'a', '--path', '/ä']],
    [64, ['--key-id', 'a', '--path', '/', '--name', 'b']],
    [64, ['more', '--key-id', 'a', '--path', '/']],
    [66, ['--key-id', '0000000000000000', '--path', '/']],
  ])('%i and one sentence: explain %j', async (expected, args) => {
    const { code, stdout, stderr } = await cli([...args, '--json']);
    expect([code, stdout]).toEqual([expected, '']);
    expect(stderr).toMatch(/^[^\n]+\.\n$/);
  });
});
