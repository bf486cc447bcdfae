import type { RedisClient } from '../redis/client.ts';
import { isWrongType } from '../redis/errors.ts';
import { CorruptRecordError, type StoreUnavailableError } from '../redis/store-errors.ts';
import { type ApiKey, apiKeySchema } from './api-key.ts';
import type { KeyStore } from './key-store.ts';

const REPLACE = `
if redis.call('HGET', KEYS[1], 'version') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'version', ARGV[2], 'record', ARGV[3])
return 1`;

/** Longer than other calls: a lookup has no fallback, so its timeout is a 500. */
const MIN_LOOKUP_TIMEOUT_MS = 500;

/**
 * Stores key records in Redis: the set `keys` holds the ids, and the hash `{ID}:key` holds `record` and `version`. The rate
 * limit script compares `version` with the cached one.
 */
export class RedisKeyStore implements KeyStore {
  readonly #redis: RedisClient;
  readonly #idSet: string;
  readonly #publishChange: (id: string) => Promise<void>;
  readonly #replace: (keys: [string], args: [string, string, string]) => Promise<unknown>;

  /** `publishChange` notifies processes that are about to lose Redis. It may fail: the rate limiter notices changes too. */
  constructor(redis: RedisClient, publishChange: (id: string) => Promise<void>) {
    this.#redis = redis;
    this.#idSet = redis.key('keys');
    this.#publishChange = publishChange;
    this.#replace = redis.defineScript('replaceKey', REPLACE);
  }

  async find(id: string): Promise<ApiKey | undefined> {
    const timeoutMs = Math.max(MIN_LOOKUP_TIMEOUT_MS, this.#redis.timeoutMs);
    const hash = await this.#redis
      .command('HGETALL', (client) => client.hgetall(this.#recordKey(id)), timeoutMs)
      .catch((error: StoreUnavailableError) => {
        throw isWrongType(error.cause) ? corruptRecord(id) : error;
      });
    if (Object.keys(hash).length === 0) return undefined;
    const record = parseRecord(hash['record']);
    if (record?.id !== id || record.version !== hash['version']) throw corruptRecord(id);
    return record;
  }

  async list(): Promise<{ records: ApiKey[]; corruptIds: string[] }> {
    const ids = await this.#redis.command('SMEMBERS', (client) => client.smembers(this.#idSet));
    const corruptIds: string[] = [];
    const findOrCollect = (id: string) =>
      this.find(id).catch((error: unknown) => {
        if (!(error instanceof CorruptRecordError)) throw error;
        corruptIds.push(id);
        return undefined;
      });
    const records = await Promise.all(ids.map(findOrCollect));
    return { records: records.filter((record) => record !== undefined), corruptIds };
  }

  async create(record: ApiKey): Promise<void> {
    // The id first: list() skips an id without a record, but would never find a record without its id.
    await this.#redis.command('SADD', (client) => client.sadd(this.#idSet, record.id));
    const fields = { version: record.version, record: JSON.stringify(record) };
    await this.#redis.command('HSET', (client) => client.hset(this.#recordKey(record.id), fields));
  }

  async replace(record: ApiKey, version: string): Promise<boolean> {
    const args: [string, string, string] = [version, record.version, JSON.stringify(record)];
    const isReplaced = (await this.#replace([this.#recordKey(record.id)], args)) === 1;
    if (isReplaced) await this.#publishChange(record.id).catch(() => {});
    return isReplaced;
  }

  async remove(id: string): Promise<void> {
    await this.#redis.command('DEL', (client) => client.del(this.#recordKey(id)));
    await this.#redis.command('SREM', (client) => client.srem(this.#idSet, id));
    await this.#publishChange(id).catch(() => {});
  }

  #recordKey(id: string): string {
    return this.#redis.key(`{${id}}:key`);
  }
}

function parseRecord(text = ''): ApiKey | undefined {
  try {
    return apiKeySchema.parse(JSON.parse(text));
  } catch {
    return undefined; // The parser's error would quote the record.
  }
}

function corruptRecord(id: string): CorruptRecordError {
  return new CorruptRecordError(`the record of key ${id} is corrupt`);
}
