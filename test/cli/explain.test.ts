import { beforeAll, expect, onTestFinished, test } from 'vitest';
import { stageOrder } from '../../src/app.ts';
import type { Explanation } from '../../src/cli/explain-stages.ts';
import { cli, cliJson } from '../helpers/cli.ts';
import { ageSharedEntries } from '../helpers/clock.ts';
import { startEmbeddedGateway } from '../helpers/embedded-gateway.ts';
import type { Environment, InProcessGateway } from '../helpers/gateway.ts';
import { exchangeBytes, get, rateLimitState } from '../helpers/http.ts';
import type { KeyRights } from '../helpers/keys.ts';
import { campaignPath } from '../helpers/stack.ts';
import { requestIds, respondWithCampaign, respondWithJson } from '../helpers/upstream.ts';
import { useStack } from '../helpers/use-stack.ts';
import { until } from '../helpers/wait.ts';

const stack = useStack();
let environment: Environment;
let gateway: InProcessGateway;

beforeAll(async () => {
  const respondWithNotFound = respondWithJson({}, 404);
  stack.upstream.respond = (request, response) =>
    (requestIds(request).campaignId.includes('missing') ? respondWithNotFound : respondWithCampaign)(request, response);
  const settings = { CACHE_TTL_MS: '30000', RATE_LIMIT_DEFAULT: '1000/1h', AUTH_FAILURE_LIMIT: '9999/1s' };
  environment = { ...stack.environment, ...settings };
  gateway = await stack.gateway(environment);
});

const getArgs = (key: string, target: string) => ['explain', '--key-id', key.split('_')[1] as string, '--path', target];
const explain = (key: string, target: string): Promise<Explanation> => cliJson(getArgs(key, target), environment);

/** Sends the target as it is: fetch would normalize it. */
async function send(key: string, target: string) {
  const head = `GET ${target} HTTP/1.1\r\nHost: a\r\nX-API-Key: ${key}\r\nConnection: close\r\n\r\n`;
  const [response] = await exchangeBytes(gateway.url, head);
  const body = Buffer.from(response?.body ?? '', 'latin1').toString();
  return { status: response?.status ?? 0, error: body.startsWith('{') ? JSON.parse(body).error : undefined };
}

const targets = [
  campaignPath,
  '/v1/accounts/ag_1/campaigns/cmp_missing',
  '/v1/accounts/ag_9/campaigns/cmp_1?format=full',
  '/v1/accounts/ag_9/campaigns/c.m.p',
  '/v1/accounts/ag.1/campaigns/c.m.p',
  '/v1/accounts/ag_1',
  '/docs',
  '/openapi.json',
];
const campaignIds = `${'c'.repeat(64)} ${'c'.repeat(65)} cmp%2F1 %63mp_1 cmp#1 .. . ; @: * cmp_1/ cmp_1/steps`;
const unusualTargets = [
  ...campaignIds.split(' ').map((campaign) => `/v1/accounts/ag_1/campaigns/${campaign}`),
  ...['/v1/accounts//ag_1/campaigns/cmp_1', '/v1/accounts/ag_1/campaigns/', '/V1/accounts/ag_1/campaigns/cmp_1'],
  ...['/v1', '//', '/', '/docs?a', '/Docs', '/docs/page.css', '/openapi.yaml'],
];

const yesterday = new Date(Date.now() - 86_400_000).toISOString();
const tomorrow = new Date(Date.now() + 86_400_000).toISOString();

test.each<[name: string, rights: KeyRights, requestsBefore?: number]>([
  ['valid', {}],
  ['all account groups, expires tomorrow', { accountGroupIds: '*', expiresAt: tomorrow }],
  ['two account groups, two limits', { accountGroupIds: ['ag_1', 'ag_2'], rateLimits: ['500/1h', '900/1d'] }, 3],
  ['another account group', { accountGroupIds: ['ag_9'] }],
  ['another permission', { permissions: ['campaigns:write'] }],
  ['expired', { expiresAt: yesterday }],
  ['suspended', { suspendedAt: yesterday }],
  ['revoked, expired, another permission', { revokedAt: yesterday, expiresAt: yesterday, permissions: ['a:b'] }],
  ['one of two limits exhausted, another permission', { rateLimits: ['1/1d', '900/1h'], permissions: ['a:b'] }, 1],
])('explain predicts the response to every path with a key: %s', async (name, rights, requestsBefore = 0) => {
  const key = await stack.key(rights);
  for (let i = 0; i < requestsBefore; i++) await send(key, campaignPath);
  for (const target of name === 'valid' ? [...targets, ...unusualTargets] : targets) {
    const { response: predicted, stages } = await explain(key, target);
    const { status, error } = await send(key, target);
    if (predicted) expect([target, predicted]).toEqual([target, { status, code: error?.code ?? null }]);
    else expect([target, [200, 404].includes(status)]).toEqual([target, true]);

    const decisive = stages.find(({ result }) => result !== 'passed');
    if (status === 403 || status === 400) expect(decisive?.details).toBe(error.details);
    if (status === 400) expect(stages.at(-1)?.stage).toBe('validateParams'); // Later stages need valid parameters.
    const endpointStages = stages.map(({ stage }) => stage).filter((stage) => stage !== 'route');
    expect(endpointStages).toEqual(stageOrder.slice(0, endpointStages.length));
  }
});

test('explain counts no request, forwards nothing and writes nothing to Redis', async () => {
  const key = await stack.key({ rateLimits: ['10/1d'] });
  await send(key, campaignPath);
  const { client } = stack.redis;
  // The gateway writes both after its response.
  const written = ['campaign-gateway:uses', `campaign-gateway:{cache:ag_1}:${campaignPath}`];
  await until(async () => (await client.exists(written)) === 2);
  const [forwarded, names] = [stack.upstream.requests.length, await client.keys('*')];
  for (let i = 0; i < 20; i++) {
    const { stages } = await explain(key, '/v1/accounts/ag_1/campaigns/cmp_unseen');
    expect(stages[1]).toMatchObject({ result: 'passed', details: '9 of 10 requests available, rate 10 per 86400 s.' });
  }
  expect(stack.upstream.requests).toHaveLength(forwarded);
  expect(names).toEqual(expect.arrayContaining(await client.keys('*'))); // Entries of other tests may have expired.
  const response = await get(gateway.url + campaignPath, { 'x-api-key': key });
  expect(rateLimitState(response).r).toBe(8);
});

test('explain reports a cache entry as missing, fresh, stale, stale if error or not found', async () => {
  const key = await stack.key();
  const explainCache = async (target: string) => (await explain(key, target)).stages.at(-1);
  const [target, missing] = ['/v1/accounts/ag_1/campaigns/cmp_aged', '/v1/accounts/ag_1/campaigns/missing_2'];
  expect(await explainCache(target)).toMatchObject({ stage: 'readDocument', result: 'passed', status: null });
  for (const each of [target, missing]) {
    await send(key, each);
    // The entry is written after the response.
    await until(async () => (await explainCache(each))?.result === 'responds');
  }
  const fresh = { status: 200, code: null, details: expect.stringMatching(/^The entry is \d s old and fresh\.$/) };
  expect(await explainCache(target)).toMatchObject(fresh);
  expect(await explainCache(missing)).toMatchObject({ status: 404, code: 'NOT_FOUND' });

  await ageSharedEntries(stack.redis.client, 40_000);
  const stale = { result: 'responds', status: 200, details: expect.stringContaining('stale') };
  expect(await explainCache(target)).toMatchObject(stale);
  expect(await explainCache(missing)).toMatchObject({ result: 'passed' });

  await ageSharedEntries(stack.redis.client, 60_000);
  const staleIfError = expect.stringContaining('only if the campaign service fails');
  expect(await explainCache(target)).toMatchObject({ result: 'passed', details: staleIfError });
});

test('without --json the command prints the stages as a table, and the response', async () => {
  const args = getArgs(await stack.key({ accountGroupIds: ['ag_9'] }), '/v1/accounts/ag_1/campaigns/cmp_unread');
  const output = await cli(args, environment);
  const stdout = `
STAGE                RESULT        DETAILS
authenticate         passed        The key is active.
rateLimit            passed        1000 of 1000 requests available, rate 1000 per 3600 s.
authorize            passed        The key has the permission campaigns:read.
validateParams       passed        All path parameters are valid.
requireAccountGroup  rejected 403  This API key has no access to this account group.
readDocument         passed        Not in the shared cache: the request is forwarded.

Response: 403 FORBIDDEN
`.slice(1);
  expect(output).toEqual({ code: 0, stdout, stderr: '' });
  const fullUrl = `https://api.example.com${args.at(-1)}?a=b`;
  expect(await cli([...args.slice(0, -1), fullUrl], environment)).toEqual(output);

  const docs = await cli([...args.slice(0, -1), 'http://a/docs'], environment);
  expect(docs.stdout).toMatch(/^route +responds 200 +This route needs no API key .*\n\nResponse: 200\n$/m);
});

test('with a keys file the command reports the state in the memory of the gateway as unknown', async () => {
  const embedded = await startEmbeddedGateway();
  onTestFinished(() => embedded.stop());
  const args = getArgs(embedded.credentials['x-api-key'] as string, campaignPath);
  const { stdout } = await cli(args, { KEYS_FILE: embedded.keysFile });
  expect(stdout).toMatch(/^rateLimit +unknown/m);
  expect(stdout).toMatch(/^readDocument +unknown/m);
  expect(stdout).toMatch(/^Response: unknown \(depends on the memory of the gateway\)$/m);
});
