import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import { cliJson } from '../helpers/cli.ts';
import { EmbeddedGateway } from '../helpers/embedded-gateway.ts';
import type { Environment, RunningGateway } from '../helpers/gateway.ts';
import { get, rateLimitState } from '../helpers/http.ts';
import { campaignPath, Stack } from '../helpers/stack.ts';
import { until } from '../helpers/wait.ts';

interface CreatedKey {
  readonly id: string;
  readonly key: string;
}

let stack: Stack;
let gateways: [RunningGateway, RunningGateway];
beforeAll(async () => {
  stack = await Stack.start();
  gateways = [await stack.gateway(), await stack.gateway()];
});
afterAll(() => stack.stop());

const run = (args: string[], environment: Environment = stack.environment) => cliJson(['keys', ...args], environment);
const rights = ['--name', 'a', '--permission', 'campaigns:read', '--account-group', 'ag_1'];
const create = (limits: string[] = [], environment?: Environment): Promise<CreatedKey> =>
  run(['create', ...rights, ...limits.flatMap((limit) => ['--rate-limit', limit])], environment);

/** A key and the successors of three rotations, all active. */
async function createChain(limits?: string[], environment?: Environment): Promise<CreatedKey[]> {
  const chain = [await create(limits, environment)];
  while (chain.length < 4) chain.push(await run(['rotate', chain.at(-1)?.id ?? ''], environment));
  return chain;
}

const read = ({ url }: RunningGateway, { key }: CreatedKey) => get(url + campaignPath, { 'x-api-key': key });
const readStatuses = (key: CreatedKey) =>
  Promise.all(gateways.map(async (gateway) => (await read(gateway, key)).status));

/** Sends requests with the keys in turn, and returns how many are not rejected with a 429. */
async function countAdmitted(gateway: RunningGateway, chain: readonly CreatedKey[]): Promise<number> {
  const statuses = [];
  for (const key of [...chain, ...chain, ...chain]) statuses.push((await read(gateway, key)).status);
  expect(new Set(statuses)).toEqual(new Set([200, 429]));
  return statuses.filter((status) => status === 200).length;
}

test('a suspended key is rejected on the next request of every gateway, and accepted again soon after it is resumed', async () => {
  const key = await create();
  expect(await readStatuses(key)).toEqual([200, 200]);
  for (let i = 0; i < 3; i++) {
    await run(['suspend', key.id]);
    expect(await readStatuses(key)).toEqual([401, 401]);
    await run(['resume', key.id]);
    await until(async () => (await readStatuses(key)).every((status) => status === 200));
  }
});

test.each([
  ['one limit', ['10/1h']],
  ['several limits', ['100/1h', '10/1d']],
])('three rotations of a key with %s grant no quota: all four keys share its limits', async (_name, limits) => {
  const chain = await createChain(limits);
  const [first, second] = await Promise.all(gateways.map((gateway) => countAdmitted(gateway, chain)));
  expect(Number(first) + Number(second)).toBe(10);
});

test('three rotations grant no quota in the embedded mode', async () => {
  const embedded = await EmbeddedGateway.start();
  onTestFinished(() => embedded.stop());
  const environment = { KEYS_FILE: embedded.keysFile, CAMPAIGN_SERVICE_URL: embedded.upstream.url };
  const chain = await createChain(['10/1h'], environment);
  expect(await countAdmitted(embedded.gateway, chain)).toBe(10);
});

test('updated permissions, account groups and limits are in force on the next request, and the quota that was used stays used', async () => {
  const key = await create(['10/1d']);
  const [first, second] = gateways;
  /** The status and the remaining quota of a request to each gateway. */
  const readBoth = async () => {
    const responses = [await read(first, key), await read(second, key)];
    return responses.map((response) => `${response.status} ${rateLimitState(response).r}`);
  };
  for (let i = 0; i < 2; i++) await readBoth();
  expect(await readBoth()).toEqual(['200 5', '200 4']);
  await run(['update', key.id, '--rate-limit', '20/1d']);
  expect(await readBoth()).toEqual(['200 13', '200 12']);
  await run(['update', key.id, '--rate-limit', '10/7d', '--permission', 'a:b']);
  expect(await readBoth()).toEqual(['403 1', '403 0']);
  await run(['update', key.id, '--permission', 'campaigns:read', '--rate-limit', '20/7d', '--account-group', 'ag_2']);
  expect(await readBoth()).toEqual(['403 9', '403 8']);
});

test('a revoked key is rejected on the next request while its successors work', async () => {
  const [first, second, third] = (await createChain()) as [CreatedKey, CreatedKey, CreatedKey];
  for (const key of [first, second, third]) expect(await readStatuses(key)).toEqual([200, 200]);
  await run(['revoke', second.id]);
  expect(await readStatuses(second)).toEqual([401, 401]);
  for (const key of [first, third]) expect(await readStatuses(key)).toEqual([200, 200]);
});
