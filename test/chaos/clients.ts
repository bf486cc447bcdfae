import { parseRateLimit } from '../../src/rate-limit/rate-limiter.ts';
import { makeKey } from '../helpers/keys.ts';
import type { Client } from './observation.ts';
import { accountGroups } from './oracle.ts';

/** Of an address whose keys fail: `AUTH_FAILURE_LIMIT`. */
export const failureLimit = '100/50s';

export const nobody: Client = { address: '127.0.0.2', key: undefined, isKnown: false };

/** Who tries keys: each time another one, or something that cannot be a key at all. */
export function guesser(): Client {
  const key = Math.random() < 0.7 ? makeKey().key : 'cgw_malformed';
  return { address: '127.0.0.3', key, isKnown: false, limit: parseRateLimit(failureLimit) };
}

let addresses = 10;

/** Who has a new key, and an address; without a limit, one that does not matter. */
export async function newClient(store: KeyMaker, limit?: string): Promise<Client> {
  const address = `127.0.0.${addresses++}`;
  const key = await store.key({ accountGroupIds: accountGroups, rateLimits: [limit ?? '1000000/1s'] });
  const client = { address, key, isKnown: true, asBearer: addresses % 2 === 0 };
  return limit === undefined ? client : { ...client, limit: parseRateLimit(limit) };
}

interface KeyMaker {
  key(rights: { accountGroupIds: string[]; rateLimits: string[] }): Promise<string>;
}

/** Clients with keys. */
export interface Clients {
  readonly readers: readonly Client[];
  /** At twice their limit all the time. */
  readonly limited: readonly Client[];
  /** With a limit that is used up after a while, and for the rest of the time. */
  readonly hourly: Client;
  /** Whose keys are revoked one after another; others take their place. */
  readonly leaving: Client[];
}

export async function newClients(store: KeyMaker): Promise<Clients> {
  const several = (count: number, limit?: string) =>
    Promise.all(Array.from({ length: count }, () => newClient(store, limit)));
  return {
    readers: await several(3),
    limited: await several(3, '20/10s'),
    hourly: await newClient(store, '250/3600s'),
    leaving: await several(6),
  };
}
