import { readFileSync } from 'node:fs';
import { z } from 'zod';
import type { CacheKey } from '../../cache/entry.ts';
import type { CachePolicy } from '../../cache/freshness.ts';
import { randomHex } from '../../telemetry/trace-context.ts';
import { formatActiveSpan, parseSpan } from '../../telemetry/tracing.ts';
import { isFailureReason } from '../../upstream/failure.ts';
import type { ChangeFeed } from '../changes/change-feed.ts';
import type { RedisLink } from '../redis-link.ts';
import { StoreUnavailable } from '../store-unavailable.ts';
import { parseRecord } from './entry-record.ts';
import { ABANDON, LEASE_MS, RENEW, RedisLease } from './redis-lease.ts';
import { generationNames, type RedisPurges } from './redis-purges.ts';
import {
  type Lease,
  type LookUp,
  type LookUpOptions,
  type SharedEntries,
  type SharedEntry,
  unsharedLease,
} from './shared-entries.ts';

/** A cache that takes longer is as none. Redis itself counts as away later: see `RedisLink`. */
const PATIENCE_MS = 50;

const lua = (file: string) => readFileSync(new URL(file, import.meta.url), 'utf8');

const replySchema = z.union([
  z.tuple([z.enum(['fresh', 'held', 'granted', 'seen']), z.int(), z.string(), z.string(), z.string()]),
  z.tuple([z.literal('noted'), z.string()]),
]);

type Names = readonly [entry: string, lease: string, group: string, campaign: string, note: string];
/** It tells the others in whose trace the campaign service is asked, where that is recorded. */
function newToken(): string {
  const span = formatActiveSpan();
  return span === undefined ? randomHex(8) : `${randomHex(8)}/${span}`;
}

interface Asked {
  readonly key: CacheKey;
  readonly epoch: string;
  readonly token: string;
  readonly noteOf: string;
}

type Run = (keys: readonly string[], args: readonly (string | number)[]) => Promise<unknown>;

/**
 * Entries and leases in Redis, in one slot an account group. Ages are by Redis' clock, whatever the gateways' own say. An
 * entry that is damaged, of another key or of another form counts as none and is written over.
 */
export class RedisEntries implements SharedEntries {
  readonly #link: RedisLink;
  readonly #feed: ChangeFeed;
  readonly #purges: RedisPurges;
  readonly #policy: CachePolicy;
  readonly #lookUp: Run;
  readonly #peek: Run;
  readonly #scripts: { readonly renew: Run; readonly end: Run; readonly abandon: Run };

  constructor(link: RedisLink, feed: ChangeFeed, purges: RedisPurges, policy: CachePolicy) {
    this.#link = link;
    this.#feed = feed;
    this.#purges = purges;
    this.#policy = policy;
    this.#lookUp = link.defineScript('lookUpEntry', lua('look-up.lua'), PATIENCE_MS);
    this.#peek = link.defineScript('peekEntry', lua('look-up.lua'));
    this.#scripts = {
      renew: link.defineScript('renewLease', RENEW, PATIENCE_MS),
      end: link.defineScript('endLease', lua('end-lease.lua'), PATIENCE_MS),
      abandon: link.defineScript('abandonLease', ABANDON, PATIENCE_MS),
    };
  }

  async lookUp(key: CacheKey, options: LookUpOptions): Promise<LookUp> {
    const { epoch } = this.#feed;
    if (epoch === undefined || this.#link.state === 'away') {
      return { state: 'granted', entry: undefined, lease: unsharedLease };
    }
    const token = newToken();
    const lease = (generation?: string) => this.#lease(key, epoch, token, generation);
    const how = options.ignoresStored ? 'anew' : options.waitingFor === undefined ? 'first' : 'waiting';
    try {
      const reply = await this.#ask(this.#lookUp, how, { key, epoch, token, noteOf: options.waitingFor ?? token });
      if (reply[0] === 'noted') return this.#readNote(reply[1], key, options);
      const [state, ageMs, kind, text, more] = reply;
      const entry = ageMs < 0 ? undefined : this.#readEntry(text, ageMs, kind, key, options);
      if (state === 'held') return { state, entry, holder: more, askedBy: parseSpan(more.split('/')[1] ?? '') };
      if (state === 'granted') return { state, entry, lease: lease(more) };
      return entry && state === 'fresh'
        ? { state, entry }
        : await this.lookUp(key, { ...options, ignoresStored: true });
    } catch {
      // Too late, and perhaps given all the same.
      return { state: 'granted', entry: undefined, lease: lease() };
    }
  }

  /** The entry, whatever its age, without asking for a lease. Rejects with `StoreUnavailable`. */
  async peek(key: CacheKey, isOwn: (data: string) => boolean): Promise<SharedEntry | undefined> {
    const { epoch } = this.#feed;
    if (epoch === undefined) throw new StoreUnavailable('the log of changes cannot be read');
    const reply = await this.#ask(this.#peek, 'peek', { key, epoch, token: '', noteOf: '' });
    if (reply[0] === 'noted') return undefined;
    const [, ageMs, kind, text] = reply;
    return ageMs < 0 ? undefined : this.#readEntry(text, ageMs, kind, key, { isOwn });
  }

  async #ask(run: Run, how: string, { key, epoch, token, noteOf }: Asked): Promise<z.output<typeof replySchema>> {
    const { found, not_found, uncacheable } = this.#policy;
    const args = [epoch, token, LEASE_MS, how, found.freshMs, not_found.freshMs, uncacheable.freshMs];
    return replySchema.parse(await run(this.#names(key, noteOf), args));
  }

  #readEntry(text: string, ageMs: number, kind: string, key: CacheKey, { isOwn }: LookUpOptions) {
    const record = parseRecord(text, key, this.#policy, isOwn);
    return record?.content.outcome === kind ? { ...record, ageMs } : undefined;
  }

  /** A note is the name of a failure, or the record of an answer that is not kept. */
  #readNote(note: string, key: CacheKey, options: LookUpOptions): LookUp | Promise<LookUp> {
    if (isFailureReason(note)) return { state: 'failed', reason: note };
    const record = parseRecord(note, key, this.#policy, options.isOwn);
    if (record && record.content.outcome !== 'uncacheable') return { state: 'unkept', result: record.content };
    return this.lookUp(key, { isOwn: options.isOwn });
  }

  #lease(key: CacheKey, epoch: string, token: string, generation: string | undefined): Lease {
    const names = this.#names(key, token);
    return new RedisLease({
      key,
      names,
      epoch,
      token,
      generation,
      scripts: this.#scripts,
      isAway: () => this.#link.state === 'away',
      announce: () => this.#purges.announce(key),
    });
  }

  #names(key: CacheKey, noteOf: string): Names {
    const { group, campaign } = generationNames(key);
    const entry = `{cache:${key.accountGroupId}}:${key.path}`;
    const name = (short: string) => this.#link.key(short);
    return [name(entry), name(`${entry}:lease`), name(group), name(campaign), name(`${entry}:note:${noteOf}`)];
  }
}
