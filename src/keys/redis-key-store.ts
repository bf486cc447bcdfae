import type { RedisClient, Script } from '../redis/client.ts';
import { computeHashSlot } from '../redis/hash-slot.ts';
import { CorruptRecordError, type StoreUnavailableError } from '../redis/store-errors.ts';
import { type ApiKey, apiKeySchema } from './api-key.ts';
import type { KeyReplacement, KeyStore } from './key-store.ts';

/**
 * KEYS: records. ARGV, per record: the expected version or '' for none, the new version, the new record. New records come first:
 * a full Redis rejects a script at its first write, but only if that write adds data. `DEL` does not, so existing keys can be
 * revoked in a full Redis, and new ones cannot be created.
 */
const REPLACE = `
for i, key in ipairs(KEYS) do
  if (redis.call('HGET', key, 'version') or '') ~= ARGV[3 * i - 2] then return 0 end
end
for _, is_new in ipairs({ true, false }) do
  for i, key in ipairs(KEYS) do
    if (ARGV[3 * i - 2] == '') == is_new then
      if not is_new then redis.call('DEL', key) end
      redis.call('HSET', key, 'version', ARGV[3 * i - 1], 'record', ARGV[3 * i])
    end
  end
end
return 1`;

/** An import of 100,000 keys takes about a second. */
const REPLACE_TIMEOUT_MS = 30_000;

/** Bounds how long one call blocks Redis. */
const PAGE_SIZE = 500;

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
  readonly #replace: Script;

  /** `publishChange` notifies processes that are about to lose Redis. It may fail: the rate limiter notices changes too. */
  constructor(redis: RedisClient, publishChange: (id: string) => Promise<void>) {
    this.#redis = redis;
    this.#idSet = redis.key('keys');
    this.#publishChange = publishChange;
    this.#replace = redis.defineScript('replaceKeys', REPLACE, REPLACE_TIMEOUT_MS);
  }

  async find(id: string): Promise<ApiKey | undefined> {
    const timeoutMs = Math.max(MIN_LOOKUP_TIMEOUT_MS, this.#redis.timeoutMs);
    const hash = await this.#redis
      .command('HGETALL', (client) => client.hgetall(this.#recordKey(id)), timeoutMs)
      .catch((error: StoreUnavailableError) => {
        throw error.failure === 'wrong_type' ? corruptRecord(id) : error;
      });
    if (Object.keys(hash).length === 0) return undefined;
    const record = parseRecord(hash['record']);
    if (record?.id !== id || record.version !== hash['version']) throw corruptRecord(id);
    return record;
  }

  async list(): Promise<{ records: ApiKey[]; corruptIds: string[] }> {
    const records = new Map<string, ApiKey | undefined>();
    const corruptIds: string[] = [];
    const read = async (id: string) => {
      const record = await this.find(id).catch((error: unknown) => {
        if (!(error instanceof CorruptRecordError)) throw error;
        corruptIds.push(id);
        return undefined;
      });
      records.set(id, record);
    };
    let cursor = '0';
    do {
      const [next, ids] = await this.#scanIds(cursor);
      // A scan may return an id twice.
      await Promise.all([...new Set(ids)].filter((id) => !records.has(id)).map(read));
      cursor = next;
    } while (cursor !== '0');
    return { records: [...records.values()].filter((record) => record !== undefined), corruptIds };
  }

  #scanIds(cursor: string): Promise<[next: string, ids: string[]]> {
    return this.#redis.command('SSCAN', (client) => client.sscan(this.#idSet, cursor, 'COUNT', PAGE_SIZE));
  }

  async create(record: ApiKey): Promise<void> {
    await this.#addIds([record.id]);
    const fields = { version: record.version, record: JSON.stringify(record) };
    await this.#redis.command('HSET', (client) => client.hset(this.#recordKey(record.id), fields));
  }

  async replace(record: ApiKey, version: string): Promise<boolean> {
    const isReplaced = await this.#write([{ record, version }]);
    if (isReplaced) await this.#publishChange(record.id).catch(() => {});
    return isReplaced;
  }

  /** One script, except in a cluster: there one for each hash slot, and an interrupted call leaves a part of them. */
  async replaceAll(replacements: readonly KeyReplacement[]): Promise<boolean> {
    await this.#addIds(replacements.map(({ record }) => record.id));
    const getSlot = ({ record }: KeyReplacement) => (this.#redis.isCluster ? computeHashSlot(record.id) : 0);
    const groups = Map.groupBy(replacements, getSlot).values();
    const written: KeyReplacement[] = [];
    try {
      for (const group of groups) {
        const isWritten = await this.#write(
          group.map(({ record, previous }) => ({ record, version: previous?.version })),
        );
        if (!isWritten) break;
        written.push(...group);
      }
    } finally {
      if (written.length < replacements.length) await this.#undo(written);
    }
    if (written.length < replacements.length) return false;
    for (const { record, previous } of written) if (previous) await this.#publishChange(record.id).catch(() => {});
    return true;
  }

  async #undo(written: readonly KeyReplacement[]): Promise<void> {
    for (const { record, previous } of written) {
      if (previous) await this.replace(previous, record.version);
      else await this.remove(record.id);
    }
  }

  /** The ids first: list() skips an id without a record, but would never find a record without its id. */
  async #addIds(ids: readonly string[]): Promise<void> {
    for (let i = 0; i < ids.length; i += PAGE_SIZE) {
      await this.#redis.command('SADD', (client) => client.sadd(this.#idSet, ids.slice(i, i + PAGE_SIZE)));
    }
  }

  /** `version` is the expected one, or undefined for none. */
  async #write(records: readonly { record: ApiKey; version: string | undefined }[]): Promise<boolean> {
    const keys = records.map(({ record }) => this.#recordKey(record.id));
    const args = records.flatMap(({ record, version = '' }) => [version, record.version, JSON.stringify(record)]);
    return (await this.#replace(keys, args)) === 1;
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
