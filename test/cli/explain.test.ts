import { mkdtemp, rm } from 'node:fs/promises';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import path from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { stageOrder } from '../../src/app.ts';
import { cachePolicy } from '../../src/cache/freshness.ts';
import { type Explanation, explain } from '../../src/cli/explain-stages.ts';
import { type CliStores, openStores } from '../../src/cli/open-stores.ts';
import { publicEndpoints } from '../../src/endpoints/index.ts';
import { openApiRoutes } from '../../src/openapi/routes.ts';
import { parseRateLimit } from '../../src/rate-limit/rate-limiter.ts';
import { loadSettings } from '../../src/settings/load.ts';
import { cli, cliJson } from '../helpers/cli.ts';
import { ageSharedEntries } from '../helpers/clock.ts';
import type { InProcessGateway } from '../helpers/gateway.ts';
import { get, rateLimitState } from '../helpers/http.ts';
import type { KeyRights } from '../helpers/keys.ts';
import { campaignPath, Stack } from '../helpers/stack.ts';
import { requestIds, respondWithCampaign, respondWithJson } from '../helpers/upstream.ts';
import { until } from '../helpers/wait.ts';

let stack: Stack;
let stores: CliStores;
let environment: Record<string, string>;

beforeAll(async () => {
  stack = await Stack.start();
  environment = {
    ...stack.environment,
    CACHE_TTL_MS: '30000',
    RATE_LIMIT_DEFAULT: '1000/1h',
    AUTH_FAILURE_LIMIT: '9999/1s',
  };
  stores = await openStores(loadSettings(environment));
});
afterAll(async () => {
  stores.close();
  await stack.stop();
});
beforeEach(() => {
  stack.upstream.respond = (request, response) =>
    (requestIds(request).campaignId.includes('missing') ? respondWithJson({}, 404) : respondWithCampaign)(
      request,
      response,
    );
});

const getId = (key: string) => key.split('_')[1] as string;

async function explainRequest(key: string, target: string): Promise<Explanation> {
  const settings = loadSettings(environment);
  const endpoints = publicEndpoints(settings);
  const record = await stores.keys.find(getId(key));
  if (!record) throw new Error('no such key');
  return explain(record, target, {
    redis: stores.redis,
    endpoints,
    publicRoutes: openApiRoutes(endpoints, settings.DOCS),
    defaultLimit: parseRateLimit(settings.RATE_LIMIT_DEFAULT),
    cachePolicy: cachePolicy(settings),
  });
}

/** Sends the path as it is: fetch would normalize it. */
async function send(gateway: InProcessGateway, key: string, target: string) {
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
  return { status, error: body.startsWith('{') ? JSON.parse(body).error : undefined };
}

const yesterday = new Date(Date.now() - 86_400_000).toISOString();
const tomorrow = new Date(Date.now() + 86_400_000).toISOString();
const keyCases: [name: string, rights: KeyRights, requestsBefore: number][] = [
  ['valid', {}, 0],
  ['all account groups, expires tomorrow', { accountGroupIds: '*', expiresAt: tomorrow }, 0],
  ['two account groups, two limits', { accountGroupIds: ['ag_1', 'ag_2'], rateLimits: ['500/1h', '900/1d'] }, 3],
  ['another account group', { accountGroupIds: ['ag_9'] }, 0],
  ['many permissions', { permissions: ['a:b', 'campaigns:read', 'c:d'] }, 0],
  ['another permission', { permissions: ['campaigns:write'] }, 0],
  ['another permission and account group', { permissions: ['campaigns:write'], accountGroupIds: ['ag_9'] }, 0],
  ['expired', { expiresAt: yesterday }, 0],
  ['suspended', { suspendedAt: yesterday }, 0],
  ['revoked', { revokedAt: yesterday }, 0],
  ['revoked, expired, another permission', { revokedAt: yesterday, expiresAt: yesterday, permissions: ['a:b'] }, 0],
  ['limit exhausted', { rateLimits: ['2/1d'] }, 2],
  ['one of two limits exhausted, another permission', { rateLimits: ['1/1d', '900/1h'], permissions: ['a:b'] }, 1],
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
  '/',
  '/docs',
  '/docs?a',
  '/Docs',
  '/docs/page.css',
  '/openapi.json',
  '/openapi.yaml',
];

const segment = fc.constantFrom(
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
const randomPath = fc.oneof(
  fc.array(segment, { maxLength: 7 }).map((segments) => `/${segments.join('/')}`),
  fc.tuple(segment, segment).map(([group, campaign]) => `/v1/accounts/${group}/campaigns/${campaign}`),
);

function getExpectedStages(names: readonly string[]): readonly string[] {
  if (names[0] === 'route') return ['route']; // It needs no key.
  return names.includes('route') ? ['authenticate', 'rateLimit', 'route'] : stageOrder;
}

test('explain predicts the response to every combination of key and path', async () => {
  const gateway = await stack.gateway(environment);
  const allTargets = [...targets, ...fc.sample(randomPath, 20)];
  for (const [name, rights, requestsBefore] of keyCases) {
    const key = await stack.key(rights);
    for (let i = 0; i < requestsBefore; i++) await send(gateway, key, campaignPath);
    for (const target of allTargets) {
      const { response: predicted, stages } = await explainRequest(key, target);
      const { status, error } = await send(gateway, key, target);
      const actual = { status, code: error?.code ?? null };
      if (predicted) expect([name, target, predicted]).toEqual([name, target, actual]);
      else expect([name, target, [200, 404].includes(status)]).toEqual([name, target, true]);
      const decisive = stages.find(({ result }) => result !== 'passed');
      if (status === 403 || status === 400) expect(decisive?.details).toBe(error.details);
      const names = stages.map(({ stage }) => stage);
      expect(names).toEqual(getExpectedStages(names).slice(0, names.length));
    }
  }
});

test('explain counts no request, forwards nothing and writes nothing to Redis', async () => {
  const key = await stack.key({ rateLimits: ['10/1d'] });
  const gateway = await stack.gateway(environment);
  await send(gateway, key, campaignPath);
  const before = stack.upstream.requests.length;
  const redisKeys = async () => (await stack.redis.client.keys('*')).sort();
  const keysBefore = await redisKeys();
  for (let i = 0; i < 20; i++) {
    const { stages } = await explainRequest(key, '/v1/accounts/ag_1/campaigns/cmp_unseen');
    expect(stages[1]).toMatchObject({ result: 'passed', details: '9 of 10 requests available, rate 10 per 86400 s.' });
  }
  expect(await redisKeys()).toEqual(keysBefore);
  expect(stack.upstream.requests.length).toBe(before);
  const response = await get(gateway.url + campaignPath, { 'x-api-key': key });
  expect(rateLimitState(response).r).toBe(8);
});

test('explain reports a cache entry as missing, fresh, stale, stale if error or not found', async () => {
  const key = await stack.key();
  const gateway = await stack.gateway(environment);
  const explainCache = async (target: string) => (await explainRequest(key, target)).stages.at(-1);
  const [target, missing] = ['/v1/accounts/ag_1/campaigns/cmp_aged', '/v1/accounts/ag_1/campaigns/missing_2'];
  expect(await explainCache(target)).toMatchObject({ stage: 'readDocument', result: 'passed', status: null });
  for (const path of [target, missing]) await send(gateway, key, path);
  // The entry is written after the response.
  await until(async () => (await explainCache(target))?.result === 'responds');
  const fresh = { status: 200, code: null, ageSeconds: 0, details: 'The entry is 0 s old and fresh.' };
  expect(await explainCache(target)).toMatchObject(fresh);
  await until(async () => (await explainCache(missing))?.result === 'responds');
  expect(await explainCache(missing)).toMatchObject({ status: 404, code: 'NOT_FOUND' });

  await ageSharedEntries(stack.redis.client, 40_000);
  const stale = { result: 'responds', status: 200, details: expect.stringContaining('stale') };
  expect(await explainCache(target)).toMatchObject(stale);
  expect(await explainCache(missing)).toMatchObject({ result: 'passed' });

  await ageSharedEntries(stack.redis.client, 60_000);
  const old = await explainCache(target);
  const staleIfError = expect.stringContaining('only if the campaign service fails');
  expect(old).toMatchObject({ result: 'passed', details: staleIfError });
  expect(old?.ageSeconds).toBeGreaterThanOrEqual(100);
});

test('an invalid path parameter ends the list: later stages need valid parameters', async () => {
  const key = await stack.key({ permissions: ['a:b'] });
  const { stages, response } = await explainRequest(key, '/v1/accounts/ag_1/campaigns/c.1');
  expect(stages.map(({ result }) => result)).toEqual(['passed', 'passed', 'rejected', 'rejected']);
  expect(response).toEqual({ status: 403, code: 'FORBIDDEN' });
});

test('the command prints a table and the response, or one JSON value', async () => {
  const key = await stack.key({ accountGroupIds: ['ag_9'] });
  const target = '/v1/accounts/ag_1/campaigns/cmp_unread';
  const args = ['explain', '--key-id', getId(key), '--path', target];
  const { code, stdout, stderr } = await cli(args, environment);
  expect([code, stderr]).toEqual([0, '']);
  expect(stdout).toBe(
    [
      'STAGE                RESULT        DETAILS',
      'authenticate         passed        The key is active.',
      'rateLimit            passed        1000 of 1000 requests available, rate 1000 per 3600 s.',
      'authorize            passed        The key has the permission campaigns:read.',
      'validateParams       passed        All path parameters are valid.',
      'requireAccountGroup  rejected 403  This API key has no access to this account group.',
      'readDocument         passed        Not in the shared cache: the request is forwarded.',
      '',
      'Response: 403 FORBIDDEN',
      '',
    ].join('\n'),
  );
  const fullUrl = [...args.slice(0, -1), `https://api.example.com${target}?a=b`];
  expect((await cli(fullUrl, environment)).stdout).toBe(stdout);
  const explanation = await cliJson(args, environment);
  expect(explanation).toMatchObject({ keyId: getId(key), path: target, response: { status: 403, code: 'FORBIDDEN' } });
  expect(explanation.stages.map(({ stage, result }: { stage: string; result: string }) => [stage, result])).toEqual([
    ['authenticate', 'passed'],
    ['rateLimit', 'passed'],
    ['authorize', 'passed'],
    ['validateParams', 'passed'],
    ['requireAccountGroup', 'rejected'],
    ['readDocument', 'passed'],
  ]);
});

test('a route that needs no key is reported as such, whatever the key', async () => {
  const key = await stack.key({ revokedAt: yesterday });
  const { stdout } = await cli(['explain', '--key-id', getId(key), '--path', 'http://a/docs'], environment);
  expect(stdout).toMatch(/^route +responds 200 +This route needs no API key .*\n\nResponse: 200\n$/m);
});

test('with a keys file the command reports the state in the memory of the gateway as unknown', async () => {
  const folder = await mkdtemp(path.join(tmpdir(), 'gateway-test-explain-'));
  const embedded = { ...environment, REDIS_URL: '', KEYS_FILE: path.join(folder, 'keys.json') };
  const create = 'keys create --name a --permission campaigns:read --account-group ag_1'.split(' ');
  const { id } = await cliJson(create, embedded);
  const { stdout } = await cli(['explain', '--key-id', id, '--path', campaignPath], embedded);
  expect(stdout).toMatch(/^rateLimit +unknown/m);
  expect(stdout).toMatch(/^readDocument +unknown/m);
  expect(stdout).toMatch(/^Response: unknown \(depends on the memory of the gateway\)$/m);
  await rm(folder, { recursive: true });
});

test('an unknown key exits with 66', async () => {
  const { code } = await cli(['explain', '--key-id', '0000000000000000', '--path', '/'], environment);
  expect(code).toBe(66);
});
