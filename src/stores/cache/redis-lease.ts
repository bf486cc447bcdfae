import type { CacheKey } from '../../cache/entry.ts';
import { usefulMs } from '../../cache/freshness.ts';
import type { FailureReason } from '../../upstream/failure.ts';
import { formatRecord } from './entry-record.ts';
import type { Lease, SharedEntry } from './shared-entries.ts';

/** So long after its holder has died a lease is free. It is renewed while the campaign service is asked. */
export const LEASE_MS = 1000;
const RENEW_MS = 300;
/** Who waits asks again within this time. */
const WAITED_MS = 300;
/** An entry that is fresh for less may not be so any more when those who wait look. */
const NEEDED_MS = 300;
/** How long a note is there for those who waited. */
const NOTE_MS = 1000;

export const RENEW = `
if redis.pcall('HGET', KEYS[1], 'token') ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])`;

/** 0 if it is the caller's and somebody has waited for it within the last ARGV[2] milliseconds. */
export const ABANDON = `
local lease = redis.pcall('HMGET', KEYS[1], 'token', 'waited')
if lease[1] ~= ARGV[1] then return 1 end
local time = redis.call('TIME')
if time[1] * 1000 + math.floor(time[2] / 1000) - (lease[2] or 0) < tonumber(ARGV[2]) then return 0 end
return redis.call('DEL', KEYS[1])`;

type Run = (keys: readonly string[], args: readonly (string | number)[]) => Promise<unknown>;

export interface LeaseParts {
  readonly key: CacheKey;
  /** Of the entry, the lease, the two generations and the note. */
  readonly names: readonly [string, string, string, string, string];
  readonly epoch: string;
  readonly token: string;
  /** Undefined where it is not known whether the lease was given. */
  readonly generation: string | undefined;
  readonly scripts: { readonly renew: Run; readonly end: Run; readonly abandon: Run };
  isAway(): boolean;
  /** Tells all processes that what they have of this key is not to be used. */
  announce(): Promise<void>;
}

/** A lease in Redis. It may turn out never to have been given; then nothing comes of its calls. */
export class RedisLease implements Lease {
  readonly isShared = true;
  readonly #parts: LeaseParts;
  readonly #renewal: NodeJS.Timeout;

  constructor(parts: LeaseParts) {
    this.#parts = parts;
    const { scripts, names, token } = parts;
    const renew = () => void scripts.renew([names[1]], [token, LEASE_MS]).catch(() => {});
    this.#renewal = setInterval(renew, RENEW_MS).unref();
  }

  async fill(entry: SharedEntry, tookDocument: boolean): Promise<boolean> {
    const { content, lifetime, ageMs } = entry;
    const record = formatRecord(this.#parts.key, entry);
    const keptMs = Math.ceil(usefulMs(lifetime) - ageMs);
    const note = lifetime.freshMs - ageMs > NEEDED_MS ? '' : record;
    const stored = [content.outcome, record, Math.floor(ageMs), Math.floor(lifetime.freshMs), keptMs];
    const end = await this.#end([note, NOTE_MS, ...stored]);
    const isGone = end === 'vanished' || (tookDocument && content.outcome !== 'found');
    if (isGone && end !== 'purged') await this.#parts.announce().catch(() => {});
    return end !== 'purged';
  }

  async fail(reason: FailureReason | undefined): Promise<void> {
    await this.#end([reason ?? '', NOTE_MS]);
  }

  async abandon(): Promise<boolean> {
    const { scripts, names, token, isAway } = this.#parts;
    const isFree = await scripts.abandon([names[1]], [token, WAITED_MS]).then(
      (answer) => answer !== 0,
      isAway, // Whoever waits sees the lease run out. From a slow Redis it is not known whether somebody does.
    );
    if (isFree) clearInterval(this.#renewal);
    return isFree;
  }

  async #end(args: readonly (string | number)[]): Promise<unknown> {
    clearInterval(this.#renewal);
    const { scripts, names, epoch, token, generation = '' } = this.#parts;
    return scripts.end(names, [epoch, token, generation, ...args]).catch(() => 'away');
  }
}
