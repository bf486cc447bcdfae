import { parseRateLimit, type RateLimit } from '../../../src/rate-limit/rate-limiter.ts';
import { makeKey } from '../../helpers/keys.ts';
import type { Stack } from '../../helpers/stack.ts';

type KeyMaker = Pick<Stack, 'key'>;

export interface Client {
  /** The source address of its connections. */
  readonly address: string;
  readonly key?: string;
  /** Whether the key was created. It may be revoked later. */
  readonly hasValidKey: boolean;
  /** The limit of its key or, for failed keys, of its address. Absent: never reached. */
  readonly limit?: RateLimit;
}

export interface PlannedRequest {
  readonly client: Client;
  readonly method: 'GET' | 'HEAD' | 'DELETE';
  readonly path: string;
  /** Whether to send the latest entity tag of the path as `If-None-Match`. */
  readonly isConditional?: boolean;
}

/** The account groups that every key of the load may read. */
export const accountGroups = ['ag_1', 'ag_2'];

/** `AUTH_FAILURE_LIMIT`: failed keys per client address. */
export const failedKeyLimit = '100/50s';

const numbered = (name: string, count: number) => Array.from({ length: count }, (_, i) => `${name}_${i}`);

/** Campaigns that are read repeatedly and change from time to time, as ACCOUNT_GROUP_ID/CAMPAIGN_ID. */
export const changingCampaigns = [
  ...numbered('ag_1/cmp', 8),
  ...numbered('ag_1/flip', 3),
  ...numbered('ag_1/flaky', 2),
  ...numbered('ag_2/cmp', 4),
  ...numbered('ag_2/flip', 1),
];

let nextAddress = 10;

/** Creates a client with a new key and a new address. Without `limit` it reaches none. */
export async function newClient(store: KeyMaker, limit?: string): Promise<Client> {
  const address = `127.0.0.${nextAddress++}`;
  const key = await store.key({ accountGroupIds: accountGroups, rateLimits: [limit ?? '1000000/1s'] });
  return { address, key, hasValidKey: true, ...(limit !== undefined && { limit: parseRateLimit(limit) }) };
}

export async function newClients(store: KeyMaker) {
  const several = (count: number, limit?: string) =>
    Promise.all(Array.from({ length: count }, () => newClient(store, limit)));
  return {
    readers: await several(3),
    /** Three at twice their limit, and one that exhausts its limit partway. */
    limited: [...(await several(3, '20/10s')), await newClient(store, '250/3600s')],
    /** Their keys are revoked one after another. Each revoked client gets a successor. */
    revocable: await several(6),
  };
}
export type Clients = Awaited<ReturnType<typeof newClients>>;

/** Presents a different forged or malformed key each time. */
function guesser(): Client {
  const key = Math.random() < 0.7 ? makeKey().key : 'cgw_malformed';
  return { address: '127.0.0.3', key, hasValidKey: false, limit: parseRateLimit(failedKeyLimit) };
}

const pick = <T>(all: readonly T[]) => all[Math.floor(Math.random() * all.length)] as T;

const read = (client: Client, campaign = 'ag_1/cmp_0'): PlannedRequest => ({
  client,
  method: 'GET',
  path: `/v1/accounts/${campaign.replace('/', '/campaigns/')}`,
});

/** An endless sequence of requests that interleaves all kinds. */
export function mixRequests(clients: Clients): () => PlannedRequest {
  const readAs = (campaign: string) => read(pick(clients.readers), campaign);
  const readAny = (kind: string) => readAs(pick(changingCampaigns.filter((name) => name.includes(`/${kind}`))));
  let sent = 0;
  /** How many of each 200 requests are of each kind. */
  const mix: [count: number, next: () => PlannedRequest][] = [
    [48, () => readAny('cmp')],
    [30, () => ({ ...readAny('cmp'), isConditional: true })],
    [10, () => ({ ...readAny('cmp'), method: 'HEAD' })],
    [10, () => readAny('flip')],
    [8, () => readAny('flaky')],
    [6, () => readAs(`ag_1/sick_${sent % 3}`)],
    [8, () => readAs(`ag_1/none_${sent % 5}`)],
    [16, () => readAs(`ag_1/once_${sent}`)],
    [3, () => readAs(pick(['ag_1/cmp%2F1', 'ag_1/cmp.1', 'ag_1/cmp~1']))],
    [6, () => readAs('ag_foreign/cmp_1')],
    [2, () => ({ ...readAny('cmp'), method: 'DELETE' })],
    [2, () => ({ ...readAny('cmp'), path: '/v1/nowhere' })],
    [20, () => read(pick(clients.limited))],
    [24, () => read(pick(clients.revocable))],
    [6, () => read(guesser())],
    [1, () => read({ address: '127.0.0.2', hasValidKey: false })],
  ];
  const cycle = mix.flatMap(([count, next]) => Array.from({ length: count }, () => next));
  // The stride, 73, is coprime to the length of the cycle, so that all entries are visited.
  return () => (cycle[(sent++ * 73) % cycle.length] as () => PlannedRequest)();
}
