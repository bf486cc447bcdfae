import { parseRateLimit } from '../../../src/rate-limit/rate-limiter.ts';
import { makeKey } from '../../helpers/keys.ts';
import type { Client } from './observation.ts';
import { accountGroups } from './oracle.ts';

/** `AUTH_FAILURE_LIMIT`: failed keys per client address. */
export const failedKeyLimit = '100/50s';

export const anonymous: Client = { address: '127.0.0.2', key: undefined, hasValidKey: false };

/** Presents a different forged or malformed key each time. */
export function guesser(): Client {
  const key = Math.random() < 0.7 ? makeKey().key : 'cgw_malformed';
  return { address: '127.0.0.3', key, hasValidKey: false, limit: parseRateLimit(failedKeyLimit) };
}

let nextAddress = 10;

/** Creates a client with a new key and a new address. Without `limit` it is never rate-limited. */
export async function newClient(store: KeyMaker, limit?: string): Promise<Client> {
  const address = `127.0.0.${nextAddress++}`;
  const key = await store.key({ accountGroupIds: accountGroups, rateLimits: [limit ?? '1000000/1s'] });
  const client = { address, key, hasValidKey: true, usesBearer: nextAddress % 2 === 0 };
  return limit === undefined ? client : { ...client, limit: parseRateLimit(limit) };
}

interface KeyMaker {
  key(rights: { accountGroupIds: string[]; rateLimits: string[] }): Promise<string>;
}

export interface Clients {
  readonly readers: readonly Client[];
  /** Always at twice their limit. */
  readonly limited: readonly Client[];
  /** Exhausts its limit partway and stays over it. */
  readonly hourly: Client;
  /** Their keys are revoked one after another. Each revoked client gets a successor. */
  readonly revocable: Client[];
}

export async function newClients(store: KeyMaker): Promise<Clients> {
  const several = (count: number, limit?: string) =>
    Promise.all(Array.from({ length: count }, () => newClient(store, limit)));
  return {
    readers: await several(3),
    limited: await several(3, '20/10s'),
    hourly: await newClient(store, '250/3600s'),
    revocable: await several(6),
  };
}
