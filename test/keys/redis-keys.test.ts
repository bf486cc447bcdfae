import { beforeAll, expect, onTestFinished, test } from 'vitest';
import { LastUsedStore } from '../../src/keys/last-used-store.ts';
import { cli, cliJson } from '../helpers/cli.ts';
import type { InProcessGateway } from '../helpers/gateway.ts';
import { get } from '../helpers/http.ts';
import { makeKey } from '../helpers/keys.ts';
import { openClient } from '../helpers/redis-client.ts';
import { campaignPath } from '../helpers/stack.ts';
import { useStack } from '../helpers/use-stack.ts';
import { until } from '../helpers/wait.ts';

const stack = useStack();
let gateway: InProcessGateway;

beforeAll(async () => {
  gateway = await stack.gateway({ AUTH_FAILURE_LIMIT: '1000000/1s' });
});

const getId = (key: string) => key.split('_')[1] as string;
const read = async (key: string, from = gateway) => (await get(from.url + campaignPath, { 'x-api-key': key })).status;
const runKeys = (...args: string[]) => cli(['keys', ...args], stack.environment);
const getKeys = (...args: string[]) => cliJson(['keys', ...args], stack.environment);

const { record: foreign } = makeKey();
const foreignFields = { record: JSON.stringify(foreign), version: foreign.version };

test.each<[what: string, damage: (name: string) => Promise<unknown>]>([
  ['is not JSON', (name) => stack.redis.client.hset(name, 'record', 'nonsense')],
  ['is that of another key', (name) => stack.redis.client.hset(name, foreignFields)],
  ['lost its version field', (name) => stack.redis.client.hdel(name, 'version')],
  ['has another Redis type', (name) => stack.redis.client.set(name, 'x')],
])('a key whose record %s gets a 500, is listed as corrupt, and gets a 401 once revoked', async (_what, damage) => {
  const key = await stack.key();
  const id = getId(key);
  const linesBefore = gateway.log.length;
  await damage(`campaign-gateway:{${id}}:key`);
  expect(await read(key)).toBe(500);
  const outages = gateway.log.slice(linesBefore).filter(({ state }) => state === 'down' || state === 'degraded');
  expect(outages).toEqual([]);
  expect(await getKeys('list')).toContainEqual({ id, status: 'corrupt' });
  expect((await runKeys('list')).stdout).toContain(`${id}  corrupt`);
  const { code, stderr } = await runKeys('show', id);
  const advice = `Cannot continue: the record of key ${id} is corrupt. Revoke the key to remove its record.`;
  expect([code, stderr]).toEqual([69, `Error: ${advice}\n`]);

  const revoked = await runKeys('revoke', id, '--json');
  expect(JSON.parse(revoked.stdout)).toEqual({ id, status: 'removed' });
  expect(JSON.parse(revoked.stderr)).toMatchObject({ key_id: id, action: 'removed' });
  expect([await read(key), (await runKeys('show', id)).code]).toEqual([401, 66]);
});

test('in a full Redis a change of a key is in force on the next request, and a new key fails', async () => {
  const keys = await Promise.all(Array.from({ length: 4 }, () => stack.key()));
  const [revoked, suspended, other, another] = keys as [string, string, string, string];
  expect(await Promise.all(keys.map((key) => read(key)))).toEqual([200, 200, 200, 200]);
  await stack.redis.client.config('SET', 'maxmemory-policy', 'noeviction', 'maxmemory', '1');
  onTestFinished(async () => void (await stack.redis.client.config('SET', 'maxmemory', '0')));

  expect(await getKeys('revoke', getId(revoked))).toMatchObject({ status: 'revoked' });
  expect(await getKeys('suspend', getId(suspended))).toMatchObject({ status: 'suspended' });
  // In one turn of the event loop, so that one script call decides on all of them.
  expect(await Promise.all([other, revoked, another, suspended].map((key) => read(key)))).toEqual([200, 401, 200, 401]);
  expect(await getKeys('resume', getId(suspended))).toMatchObject({ status: 'active' });
  expect(await read(suspended)).toBe(200);

  const grants = ['--permission', 'campaigns:read', '--account-group', 'ag_1'];
  const { code, stderr } = await runKeys('create', '--name', 'new', ...grants);
  expect([code, stderr]).toEqual([69, expect.stringMatching(/Redis at 127\.0\.0\.1:\d+ is out of memory .*\(OOM\)/)]);
});

test('the latest use of each key counts, in whatever order and number several writers record uses', async () => {
  const client = await openClient(stack.redis.url);
  onTestFinished(() => client.close());
  const store = new LastUsedStore(client);
  const ids = Array.from({ length: 1201 }, (_, i) => `key${i}`);
  const [earlier, later] = [Date.parse('2026-01-01T00:00:00.000Z'), Date.parse('2026-01-02T03:04:05.678Z')];
  const record = (used: string[], at: number) => store.record(new Map(used.map((id) => [id, at])));
  const [even, odd] = [ids.filter((_id, i) => i % 2 === 0), ids.filter((_id, i) => i % 2 === 1)];
  await Promise.all([record(even, later), record(odd, earlier)]);
  await record(ids.slice(0, 10), earlier);
  const expected = ids.map((id, i) => [id, new Date(i % 2 === 0 ? later : earlier)]);
  expect([...(await store.getLastUsed([...ids, 'unused']))]).toEqual(expected);
  expect((await store.getLastUsed([])).size).toBe(0);
});

test('keys list and show report the last use within seconds, and at the latest when the gateway has stopped', async () => {
  const [used, late, unused] = [await stack.key(), await stack.key(), await stack.key()];
  const other = await stack.gateway();
  const before = Date.now();
  expect(await read(used, other)).toBe(200);
  const lastUsedAt = await until(async () => (await getKeys('show', getId(used))).lastUsedAt);
  expect(Date.parse(lastUsedAt)).toBeGreaterThanOrEqual(before);

  expect(await read(late, other)).toBe(200);
  await other.stop();
  const list: { id: string; lastUsedAt: string | null }[] = await getKeys('list');
  const lastUses = [used, late, unused].map((key) => list.find(({ id }) => id === getId(key))?.lastUsedAt);
  expect(lastUses).toEqual([lastUsedAt, expect.any(String), null]);
  const table = (await runKeys('list')).stdout;
  expect(table).toMatch(new RegExp(`^${getId(used)} +active .*Z +never +\\S+ \\S+Z +a test `, 'm'));
  expect(table).toMatch(new RegExp(`^${getId(unused)} +active .*Z +never +never +a test `, 'm'));
});
