import { readFileSync } from 'node:fs';
import { z } from 'zod';
import type { CacheKey, Content } from '../../cache/entry.ts';
import { usefulMs } from '../../cache/freshness.ts';
import { randomHex } from '../../telemetry/trace-context.ts';
import { entityTag } from '../../upstream/interpret.ts';
import type { RedisLink } from '../redis-link.ts';
import type { PurgeFeed } from './purge-feed.ts';
import { generationNames, type RedisPurges } from './redis-purges.ts';
import { type Lease, type LookUp, type SharedEntries, type SharedEntry, unsharedLease } from './shared-entries.ts';

const lua = (file: string) => readFileSync(new URL(file, import.meta.url), 'utf8');

const RENEW = `
return redis.pcall('HGET', KEYS[1], 'token') == ARGV[1] and redis.call('PEXPIRE', KEYS[1], ARGV[2]) or 0`;

/** ARGV[2] '1': only if nobody waits. */
const RELEASE = `
local lease = redis.pcall('HMGET', KEYS[1], 'token', 'waited')
if lease[1] ~= ARGV[1] or (ARGV[2] == '1' and lease[2]) then return 0 end
return redis.call('DEL', KEYS[1])`;

/** So long after its holder has died a lease is free. It is renewed while the campaign service is asked. */
const LEASE_MS = 1000;
const RENEW_MS = 300;
/** A cache that takes longer is as none. Redis itself counts as away later: see `RedisLink`. */
const PATIENCE_MS = 50;

const milliseconds = z.number().min(0);

/** What an entry is in Redis, beside its age: nothing that is not here was ever written by a gateway. */
const recordSchema = z.strictObject({
  path: z.string(),
  content: z.discriminatedUnion('outcome', [
    z.strictObject({ outcome: z.literal('found'), data: z.string(), etag: z.string() }),
    z.strictObject({ outcome: z.literal('not_found') }),
    z.strictObject({ outcome: z.literal('uncacheable') }),
  ]),
  lifetime: z.strictObject({
    freshMs: milliseconds,
    staleWhileRevalidateMs: milliseconds,
    staleIfErrorMs: milliseconds,
  }),
});

const replySchema = z.tuple([z.int(), z.string(), z.enum(['needless', 'held', 'granted'])]);

type Names = [entry: string, lease: string, group: string, campaign: string];
type Run = (keys: readonly string[], args: readonly (string | number)[]) => Promise<unknown>;

/**
 * Entries and leases in Redis, in one slot an account group. Ages are by Redis' clock, whatever the gateways' own say. An
 * entry that is damaged, of another key or of another form counts as none and is written over.
 */
export class RedisEntries implements SharedEntries {
  readonly #link: RedisLink;
  readonly #feed: PurgeFeed;
  readonly #purges: RedisPurges;
  readonly #lookUp: Run;
  readonly #fill: Run;
  readonly #renew: Run;
  readonly #release: Run;

  constructor(link: RedisLink, feed: PurgeFeed, purges: RedisPurges) {
    this.#link = link;
    this.#feed = feed;
    this.#purges = purges;
    this.#lookUp = link.defineScript('lookUpEntry', lua('look-up.lua'), PATIENCE_MS);
    this.#fill = link.defineScript('fillEntry', lua('fill.lua'), PATIENCE_MS);
    this.#renew = link.defineScript('renewLease', RENEW, PATIENCE_MS);
    this.#release = link.defineScript('releaseLease', RELEASE, PATIENCE_MS);
  }

  async lookUp(key: CacheKey, isOwn: (data: string) => boolean): Promise<LookUp> {
    const { epoch } = this.#feed;
    if (epoch === undefined) return { entry: undefined, lease: unsharedLease };
    const names = this.#names(key);
    const token = randomHex(8);
    const ask = async (ignored: '' | '1') =>
      replySchema.parse(await this.#lookUp(names, [epoch, token, LEASE_MS, ignored]));
    try {
      let [ageMs, record, lease] = await ask('');
      const entry = ageMs < 0 ? undefined : readEntry(record, ageMs, key, isOwn);
      if (!entry && lease === 'needless') [ageMs, record, lease] = await ask('1');
      return { entry, lease: lease === 'granted' ? this.#lease(key, names, epoch, token) : lease };
    } catch {
      return { entry: undefined, lease: unsharedLease };
    }
  }

  #lease(key: CacheKey, names: Names, epoch: string, token: string): Lease {
    const [, leaseName] = names;
    const renewal = setInterval(
      () => void this.#renew([leaseName], [token, LEASE_MS]).catch(() => {}),
      RENEW_MS,
    ).unref();
    const release = async (unlessWaitedFor: '' | '1') => {
      try {
        return (await this.#release([leaseName], [token, unlessWaitedFor])) === 1;
      } catch {
        return true; // Whoever waits sees the lease run out.
      }
    };
    return {
      fill: async (entry) => {
        clearInterval(renewal);
        const { content, lifetime, ageMs } = entry;
        const keptMs = Math.ceil(usefulMs(lifetime) - ageMs);
        const record = JSON.stringify({ path: key.path, content, lifetime });
        const args = [epoch, token, content.outcome, record, ageMs, Math.floor(lifetime.freshMs), keptMs];
        try {
          const filled = await this.#fill(names, args);
          // What other processes have of it is not to be served stale.
          if (filled === 'vanished') await this.#purges.announce(key);
          return filled === 'refused' ? 'refused' : 'stored';
        } catch {
          return 'away';
        }
      },
      release: async () => {
        clearInterval(renewal);
        await release('');
      },
      abandon: async () => {
        const isFree = await release('1');
        if (isFree) clearInterval(renewal);
        return isFree;
      },
    };
  }

  #names(key: CacheKey): Names {
    const { group, campaign } = generationNames(key);
    const entry = `{cache:${key.accountGroupId}}:${key.path}`;
    return [entry, `${entry}:lease`, group, campaign].map((name) => this.#link.key(name)) as Names;
  }
}

function readEntry(
  text: string,
  ageMs: number,
  key: CacheKey,
  isOwn: (data: string) => boolean,
): SharedEntry | undefined {
  try {
    const { path, content, lifetime } = recordSchema.parse(JSON.parse(text));
    return path === key.path && isSound(content, isOwn) ? { content, lifetime, ageMs } : undefined;
  } catch {
    return undefined;
  }
}

function isSound(content: Content, isOwn: (data: string) => boolean): boolean {
  return content.outcome !== 'found' || (isOwn(content.data) && content.etag === entityTag(content.data));
}
