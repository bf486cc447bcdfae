import type { RedisClient } from '../redis/client.ts';
import { isWrongType } from '../redis/errors.ts';
import { CorruptRecordError, type StoreUnavailableError } from '../redis/store-errors.ts';
import { type ApiKey, apiKeySchema } from './api-key.ts';
import { byCreation, type KeyList, type KeyStore } from './key-store.ts';

const REPLACE = `
if redis.call('HGET', KEYS[1], 'version') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'version', ARGV[2], 'record', ARGV[3])
return 1`;

/** Without the record there is nothing but a 500: it is worth a longer wait than what has a stand-in. */
const MIN_TIMEOUT_MS = 500;

/** One hash a key, with its version beside the record so that the limit script can compare it; a set holds the ids. */
export class RedisKeyStore implements KeyStore {
  readonly #redis: RedisClient;
  readonly #notify: (id: string) => Promise<void>;
  readonly #replace: (keys: [string], args: [string, string, string]) => Promise<unknown>;

  constructor(redis: RedisClient, publishChange: (id: string) => Promise<void>) {
    this.#redis = redis;
    this.#notify = publishChange;
    this.#replace = redis.defineScript('replaceKey', REPLACE);
  }

  async find(id: string): Promise<ApiKey | undefined> {
    const patienceMs = Math.max(MIN_TIMEOUT_MS, this.#redis.timeoutMs);
    const text = await this.#redis
      .command('HGET', (client) => client.hget(this.#recordKey(id), 'record'), patienceMs)
      .catch((error: StoreUnavailableError) => {
        throw isWrongType(error.cause) ? corruptRecord(id) : error;
      });
    return text === null ? undefined : readRecord(text, id);
  }

  async filterExisting(ids: readonly string[]): Promise<ReadonlySet<string>> {
    const patienceMs = Math.max(MIN_TIMEOUT_MS, this.#redis.timeoutMs);
    const members = await this.#redis.command(
      'SMISMEMBER',
      (client) => client.smismember(this.#redis.key('keys'), [...ids]),
      patienceMs,
    );
    return new Set(ids.filter((_, i) => members[i] === 1));
  }

  async list(): Promise<KeyList> {
    const ids = await this.#redis.command('SMEMBERS', (client) => client.smembers(this.#redis.key('keys')));
    const damagedIds: string[] = [];
    const findOrCollect = (id: string) =>
      this.find(id).catch((error: unknown) => {
        if (!(error instanceof CorruptRecordError)) throw error;
        damagedIds.push(id);
        return undefined;
      });
    const records = await Promise.all(ids.map(findOrCollect));
    return {
      records: records.filter((record) => record !== undefined).sort(byCreation),
      corruptIds: damagedIds.sort(),
    };
  }

  async create(record: ApiKey): Promise<void> {
    // The id first: one without a record is passed over, a record without its id would never be listed.
    await this.#redis.command('SADD', (client) => client.sadd(this.#redis.key('keys'), record.id));
    const fields = { version: record.version, record: JSON.stringify(record) };
    await this.#redis.command('HSET', (client) => client.hset(this.#recordKey(record.id), fields));
  }

  async replace(record: ApiKey, version: string): Promise<boolean> {
    const args: [string, string, string] = [version, record.version, JSON.stringify(record)];
    const isReplaced = (await this.#replace([this.#recordKey(record.id)], args)) === 1;
    if (isReplaced) await this.#publishChange(record.id);
    return isReplaced;
  }

  async remove(id: string): Promise<void> {
    await this.#redis.command('DEL', (client) => client.del(this.#recordKey(id)));
    await this.#redis.command('SREM', (client) => client.srem(this.#redis.key('keys'), id));
    await this.#publishChange(id);
  }

  /**
   * Every request that reaches Redis notices the change by itself. This is for the processes that Redis is about to be out
   * of reach of; the change stands without it.
   */
  async #publishChange(id: string): Promise<void> {
    await this.#notify(id).catch(() => {});
  }

  #recordKey(id: string): string {
    return this.#redis.key(`{${id}}:key`);
  }
}

function readRecord(text: string, id: string): ApiKey {
  try {
    const record = apiKeySchema.parse(JSON.parse(text));
    if (record.id === id) return record;
  } catch {
    // Below; the parser's error would quote the record.
  }
  throw corruptRecord(id);
}

function corruptRecord(id: string): CorruptRecordError {
  return new CorruptRecordError(`the record of key ${id} is damaged`);
}
