import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { cliJson } from '../helpers/cli.ts';
import { type Environment, type InProcessGateway, startGateway } from '../helpers/gateway.ts';
import { get, rateLimitState } from '../helpers/http.ts';
import { campaignPath, Stack } from '../helpers/stack.ts';
import { respondWithCampaign } from '../helpers/upstream.ts';
import { until } from '../helpers/wait.ts';

interface CreatedKey {
  readonly id: string;
  readonly key: string;
}

const readStatus = async ({ url }: InProcessGateway, { key }: CreatedKey) =>
  (await get(url + campaignPath, { 'x-api-key': key })).status;

/** Commands on the keys of one store. */
function keyCommands(environment: () => Environment) {
  const run = (...args: string[]) => cliJson(['keys', ...args], environment());
  const create = (...args: string[]): Promise<CreatedKey> =>
    run('create', '--name', 'a', '--permission', 'campaigns:read', '--account-group', 'ag_1', ...args);
  /** A key and the successors of three rotations, all active. */
  async function createChain(...args: string[]): Promise<CreatedKey[]> {
    const chain = [await create(...args)];
    while (chain.length < 4) chain.push(await run('rotate', (chain.at(-1) as CreatedKey).id));
    return chain;
  }
  return { run, create, createChain };
}

/** Sends requests with the keys in turn. */
async function countAdmitted(gateway: InProcessGateway, chain: readonly CreatedKey[], requests: number) {
  let admitted = 0;
  for (let i = 0; i < requests; i++) {
    const status = await readStatus(gateway, chain[i % chain.length] as CreatedKey);
    expect([200, 429]).toContain(status);
    if (status === 200) admitted++;
  }
  return admitted;
}

describe('with Redis', () => {
  let stack: Stack;
  let gateways: InProcessGateway[];
  const { run, create, createChain } = keyCommands(() => stack.environment);

  beforeAll(async () => {
    stack = await Stack.start();
    stack.upstream.respond = respondWithCampaign;
    gateways = await Promise.all([stack.gateway(), stack.gateway()]);
  });
  afterAll(() => stack.stop());

  const readStatuses = (key: CreatedKey) => Promise.all(gateways.map((gateway) => readStatus(gateway, key)));

  test('a suspended key is rejected on the next request of every gateway, and accepted again soon after it is resumed', async () => {
    const key = await create();
    expect(await readStatuses(key)).toEqual([200, 200]);
    for (let i = 0; i < 3; i++) {
      await run('suspend', key.id);
      expect(await readStatuses(key)).toEqual([401, 401]);
      await run('resume', key.id);
      await until(async () => (await readStatuses(key)).every((status) => status === 200));
    }
  });

  test.each([
    ['one limit', ['10/1h']],
    ['several limits', ['100/1h', '10/1d']],
  ])('three rotations of a key with %s grant no quota: all four keys share its limits', async (_name, limits) => {
    const chain = await createChain(...limits.flatMap((limit) => ['--rate-limit', limit]));
    const admitted = await Promise.all(gateways.map((gateway) => countAdmitted(gateway, chain, 12)));
    expect(admitted.reduce((sum, count) => sum + count)).toBe(10);
  });

  test('updated permissions, account groups and limits are in force on the next request, and a limit keeps what was used', async () => {
    const key = await create('--rate-limit', '10/1d');
    const getRemaining = async (gateway: InProcessGateway) => {
      const response = await get(gateway.url + campaignPath, { 'x-api-key': key.key });
      return [response.status, rateLimitState(response).r];
    };
    const [first, second] = gateways as [InProcessGateway, InProcessGateway];
    for (let i = 0; i < 5; i++) await readStatus(first, key);
    expect(await getRemaining(second)).toEqual([200, 4]);
    await run('update', key.id, '--rate-limit', '20/1d');
    expect([await getRemaining(first), await getRemaining(second)]).toEqual([
      [200, 13],
      [200, 12],
    ]);
    await run('update', key.id, '--rate-limit', '10/7d', '--permission', 'a:b');
    expect([await getRemaining(first), await getRemaining(second)]).toEqual([
      [403, 1],
      [403, 0],
    ]);
    await run('update', key.id, '--permission', 'campaigns:read', '--rate-limit', '20/7d', '--account-group', 'ag_2');
    expect([await getRemaining(first), await getRemaining(second)]).toEqual([
      [403, 9],
      [403, 8],
    ]);
  });

  test('a revoked key is rejected on the next request while its successors work', async () => {
    const [first, second, third] = (await createChain()) as [CreatedKey, CreatedKey, CreatedKey];
    for (const key of [first, second, third]) expect(await readStatuses(key)).toEqual([200, 200]);
    await run('revoke', second.id);
    expect(await readStatuses(second)).toEqual([401, 401]);
    for (const key of [first, third]) expect(await readStatuses(key)).toEqual([200, 200]);
  });
});

test('three rotations grant no quota while Redis is down', async () => {
  const stack = await Stack.start();
  onTestFinished(() => stack.stop());
  stack.upstream.respond = respondWithCampaign;
  const gateway = await stack.gateway();
  const { createChain } = keyCommands(() => stack.environment);
  const chain = await createChain('--rate-limit', '10/1h', '--rate-limit', '100/1d');
  expect(await countAdmitted(gateway, chain, 6)).toBe(6);
  await stack.redis.kill();
  await until(() => gateway.log.some(({ state }) => state === 'down'));
  expect(await countAdmitted(gateway, chain, 20)).toBe(4);
});

test('three rotations grant no quota in the embedded mode', async () => {
  const keysFile = path.join(tmpdir(), `gateway-test-key-changes-${process.pid}`, 'keys.json');
  const environment = { KEYS_FILE: keysFile, CAMPAIGN_SERVICE_URL: 'http://127.0.0.1:1' };
  const chain = await keyCommands(() => environment).createChain('--rate-limit', '10/1h');
  const gateway = await startGateway(environment);
  onTestFinished(async () => {
    await gateway.stop();
    await rm(path.dirname(keysFile), { recursive: true });
  });
  const statuses = [];
  for (let i = 0; i < 12; i++) statuses.push(await readStatus(gateway, chain[i % 4] as CreatedKey));
  expect(statuses).toEqual([...Array(10).fill(502), 429, 429]);
});
