import { beforeAll, beforeEach, expect, onTestFinished, test } from 'vitest';
import { cliJson } from '../helpers/cli.ts';
import { startEmbeddedGateway } from '../helpers/embedded-gateway.ts';
import { expectError } from '../helpers/envelope.ts';
import type { Environment, RunningGateway } from '../helpers/gateway.ts';
import { get, type HttpResponse, rateLimitState } from '../helpers/http.ts';
import { makeKey } from '../helpers/keys.ts';
import { longTimeouts } from '../helpers/load.ts';
import { campaignPath } from '../helpers/stack.ts';
import { respondWithCampaign, respondWithJson } from '../helpers/upstream.ts';
import { useStack } from '../helpers/use-stack.ts';

const stack = useStack();
let first: RunningGateway;
let second: RunningGateway;

beforeAll(async () => {
  first = await stack.gateway({ ...longTimeouts, AUTH_FAILURE_LIMIT: '1000/60s' });
  second = await stack.gateway(longTimeouts);
});
beforeEach(() => {
  stack.upstream.respond = respondWithCampaign;
});

const read = (key: string | undefined, path = campaignPath, method = 'GET') =>
  get(first.url + path, key === undefined ? {} : { 'x-api-key': key }, method);

async function readTimes(times: number, rateLimits: string[]): Promise<{ responses: HttpResponse[]; key: string }> {
  const key = await stack.key({ rateLimits });
  const responses: HttpResponse[] = [];
  while (responses.length < times) responses.push(await read(key));
  return { responses, key };
}
const getStatuses = (responses: readonly HttpResponse[]) => responses.map(({ status }) => status);

/** Tokens refill while the test runs, so `t` may be some seconds less on a slow machine. */
const about = (seconds: number) =>
  expect.toSatisfy((t: number) => t <= seconds && t > seconds - 30, `about ${seconds}`);

test('missing, malformed, unknown, expired, suspended and revoked keys get one indistinguishable 401', async () => {
  const past = '2026-01-01T00:00:00.000Z';
  const responses = await Promise.all([
    read(undefined),
    read(''),
    read('cgw_nonsense'),
    read((await stack.key()).replace(/^cgw_.{16}/, 'cgw_0000000000000000')),
    read(makeKey().key),
    read(await stack.key({ expiresAt: past })),
    read(await stack.key({ suspendedAt: past })),
    read(await stack.key({ revokedAt: past })),
  ]);
  for (const response of responses) {
    expectError(response, 'UNAUTHORIZED');
    expect(response.headers.get('www-authenticate')).toBe('Bearer realm="campaign-gateway"');
  }
  const comparable = responses.map(({ headers, body }) => {
    const comparableHeaders = [...headers].filter(([name]) => !['x-trace-id', 'date'].includes(name));
    return JSON.stringify([comparableHeaders, { ...body, traceId: '' }]);
  });
  expect(new Set(comparable).size).toBe(1);
});

test('a key with several limits reports the most restrictive one, with its burst; a rejected request gets a 429 and consumes none of them', async () => {
  const { responses, key } = await readTimes(5, ['600/86400s,burst=3', '7/3600s,burst=7']);
  expect(getStatuses(responses)).toEqual([200, 200, 200, 429, 429]);
  const [accepted, rejected] = [responses[0] as HttpResponse, responses[4] as HttpResponse];
  expect(accepted.headers.get('ratelimit-policy')).toBe(
    '"per-86400s";q=600;w=86400;cgw-burst=3, "per-3600s";q=7;w=3600',
  );
  expect(rateLimitState(accepted)).toEqual({ name: 'per-86400s', r: 2, t: 288 });
  expectError(rejected, 'RATE_LIMITED');
  expect(rateLimitState(rejected)).toEqual({ name: 'per-86400s', r: 0, t: about(144) });
  expect(rejected.headers.get('retry-after')).toBe(String(rateLimitState(rejected).t));
  const buckets = await stack.redis.client.get(`campaign-gateway:{${key.split('_')[1]}}:limit`);
  expect(Math.ceil(Number(buckets?.split(' ')[2]) / 3_600_000)).toBe(3);
});

test('every request with a valid key counts once against its limit, whatever the response', async () => {
  const counted = await stack.key({ rateLimits: ['100/86400s'] });
  const responses = [];
  for (const path of [campaignPath, '/v1/accounts/a.b/campaigns/c', '/v1/accounts/ag_2/campaigns/c', '/nowhere']) {
    responses.push(await read(counted, path));
  }
  responses.push(await read(counted, campaignPath, 'POST'));
  stack.upstream.respond = respondWithJson({}, 500);
  responses.push(await read(counted));
  expect(getStatuses(responses)).toEqual([200, 400, 403, 404, 405, 502]);
  expect(responses.map((response) => rateLimitState(response).r)).toEqual([99, 98, 97, 96, 95, 94]);
});

test('an unmatched route or method needs no key, but an invalid key is rejected and a limit applies', async () => {
  const { key } = await readTimes(1, ['1/86400s']);
  const readBoth = async (presented?: string) =>
    getStatuses([await read(presented, '/nowhere'), await read(presented, campaignPath, 'POST')]);
  expect(await readBoth()).toEqual([404, 405]);
  expect(await readBoth(`${key}x`)).toEqual([401, 401]);
  expect(await readBoth(key)).toEqual([429, 429]);
});

const run = (args: string[], environment: Environment = stack.environment) => cliJson(['keys', ...args], environment);
const rights = ['--name', 'a', '--permission', 'campaigns:read', '--account-group', 'ag_1'];
const create = (limits: string[] = [], environment?: Environment): Promise<CreatedKey> =>
  run(['create', ...rights, ...limits.flatMap((limit) => ['--rate-limit', limit])], environment);

type CreatedKey = Readonly<Record<'id' | 'key', string>>;

const readFrom = ({ url }: RunningGateway, { key }: CreatedKey) => get(url + campaignPath, { 'x-api-key': key });
const readFromBoth = async (key: CreatedKey) => [await readFrom(first, key), await readFrom(second, key)];
const readStatuses = async (key: CreatedKey) => getStatuses(await readFromBoth(key));

test('a suspension and a resumption are in force on the next request of every gateway, even if they cannot be published', async () => {
  const key = await create();
  expect(await readStatuses(key)).toEqual([200, 200]);
  // Without access to campaign-gateway:changes.
  const names = ['{*', 'keys', 'uses', 'probe'].map((name) => `~campaign-gateway:${name}`);
  await stack.redis.client.acl('SETUSER', 'unable-to-publish', 'on', '>pw', ...names, '&*', '+@all');
  const environment = { ...stack.environment, REDIS_URL: `redis://unable-to-publish:pw@127.0.0.1:${stack.redis.port}` };
  for (let i = 0; i < 3; i++) {
    await run(['suspend', key.id], environment);
    expect(await readStatuses(key)).toEqual([401, 401]);
    await run(['resume', key.id], environment);
    expect(await readStatuses(key)).toEqual([200, 200]);
  }
});

/** Sends three requests with a key and with each of three successors, all active, and expects ten to be admitted. */
async function expectNoQuotaFromRotation(gateways: RunningGateway[], limits: string[], environment?: Environment) {
  const chain = [await create(limits, environment)];
  while (chain.length < 4) chain.push(await run(['rotate', chain.at(-1)?.id ?? ''], environment));
  const statuses = [];
  for (const key of [...chain, ...chain, ...chain]) {
    for (const gateway of gateways) statuses.push((await readFrom(gateway, key)).status);
  }
  expect(statuses.filter((status) => status !== 429)).toEqual(Array(10).fill(200));
}

test('three rotations of a key grant no quota on several gateways: all four keys share its limits', () =>
  expectNoQuotaFromRotation([first, second], ['100/1h', '10/1d']));

test('three rotations of a key grant no quota in the embedded mode', async () => {
  const embedded = await startEmbeddedGateway();
  onTestFinished(() => embedded.stop());
  const environment = { KEYS_FILE: embedded.keysFile, CAMPAIGN_SERVICE_URL: embedded.upstream.url };
  await expectNoQuotaFromRotation([embedded.gateway], ['10/1h'], environment);
});

test('updated permissions, account groups and limits are in force on the next request, and the quota that was used stays used', async () => {
  const key = await create(['10/1d']);
  const readBoth = async () =>
    (await readFromBoth(key)).map((response) => `${response.status} ${rateLimitState(response).r}`);
  for (let i = 0; i < 2; i++) await readBoth();
  expect(await readBoth()).toEqual(['200 5', '200 4']);
  await run(['update', key.id, '--rate-limit', '20/1d']);
  expect(await readBoth()).toEqual(['200 13', '200 12']);
  await run(['update', key.id, '--rate-limit', '10/7d', '--permission', 'a:b']);
  expect(await readBoth()).toEqual(['403 1', '403 0']);
  await run(['update', key.id, '--permission', 'campaigns:read', '--rate-limit', '20/7d', '--account-group', 'ag_2']);
  expect(await readBoth()).toEqual(['403 9', '403 8']);
});
