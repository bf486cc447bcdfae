import type { RedisChanges } from '../changes/redis-changes.ts';
import { isWrongType } from '../redis-errors.ts';
import type { RedisLink } from '../redis-link.ts';
import { DamagedRecord, type StoreUnavailable } from '../store-unavailable.ts';
import { type ApiKey, apiKeySchema } from './api-key.ts';
import { byCreation, type KeyList, type KeyStore } from './key-store.ts';

const REPLACE = `
if redis.call('HGET', KEYS[1], 'version') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'version', ARGV[2], 'record', ARGV[3])
return 1`;

/** Without the record there is nothing but a 500: it is worth a longer wait than what has a stand-in. */
const PATIENCE_MS = 500;

/** One hash a key, with its version beside the record so that the limit script can compare it; a set holds the ids. */
export class RedisKeys implements KeyStore {
  readonly #link: RedisLink;
  readonly #changes: RedisChanges;
  readonly #replace: (keys: [string], args: [string, string, string]) => Promise<unknown>;

  constructor(link: RedisLink, changes: RedisChanges) {
    this.#link = link;
    this.#changes = changes;
    this.#replace = link.defineScript('replaceKey', REPLACE);
  }

  async find(id: string): Promise<ApiKey | undefined> {
    const patienceMs = Math.max(PATIENCE_MS, this.#link.deadlineMs);
    const text = await this.#link
      .call('HGET', (client) => client.hget(this.#name(id), 'record'), patienceMs)
      .catch((error: StoreUnavailable) => {
        throw isWrongType(error.cause) ? damaged(id) : error;
      });
    return text === null ? undefined : readRecord(text, id);
  }

  async existing(ids: readonly string[]): Promise<ReadonlySet<string>> {
    const patienceMs = Math.max(PATIENCE_MS, this.#link.deadlineMs);
    const known = await this.#link.call(
      'SMISMEMBER',
      (client) => client.smismember(this.#link.key('keys'), [...ids]),
      patienceMs,
    );
    return new Set(ids.filter((_, i) => known[i] === 1));
  }

  async list(): Promise<KeyList> {
    const ids = await this.#link.call('SMEMBERS', (client) => client.smembers(this.#link.key('keys')));
    const damagedIds: string[] = [];
    const findOrNote = (id: string) =>
      this.find(id).catch((error: unknown) => {
        if (!(error instanceof DamagedRecord)) throw error;
        damagedIds.push(id);
        return undefined;
      });
    const records = await Promise.all(ids.map(findOrNote));
    return {
      records: records.filter((record) => record !== undefined).sort(byCreation),
      damagedIds: damagedIds.sort(),
    };
  }

  async create(record: ApiKey): Promise<void> {
    // The id first: one without a record is passed over, a record without its id would never be listed.
    await this.#link.call('SADD', (client) => client.sadd(this.#link.key('keys'), record.id));
    const fields = { version: record.version, record: JSON.stringify(record) };
    await this.#link.call('HSET', (client) => client.hset(this.#name(record.id), fields));
  }

  async replace(record: ApiKey, version: string): Promise<boolean> {
    const args: [string, string, string] = [version, record.version, JSON.stringify(record)];
    const isReplaced = (await this.#replace([this.#name(record.id)], args)) === 1;
    if (isReplaced) await this.#announce(record.id);
    return isReplaced;
  }

  async remove(id: string): Promise<void> {
    await this.#link.call('DEL', (client) => client.del(this.#name(id)));
    await this.#link.call('SREM', (client) => client.srem(this.#link.key('keys'), id));
    await this.#announce(id);
  }

  /**
   * Every request that reaches Redis notices the change by itself. This is for the processes that Redis is about to be out
   * of reach of; the change stands without it.
   */
  async #announce(id: string): Promise<void> {
    await this.#changes.append({ kind: 'key', id }).catch(() => {});
  }

  #name(id: string): string {
    return this.#link.key(`{${id}}:key`);
  }
}

function readRecord(text: string, id: string): ApiKey {
  try {
    const record = apiKeySchema.parse(JSON.parse(text));
    if (record.id === id) return record;
  } catch {
    // Below; the parser's error would quote the record.
  }
  throw damaged(id);
}

function damaged(id: string): DamagedRecord {
  return new DamagedRecord(`the record of key ${id} is damaged`);
}
