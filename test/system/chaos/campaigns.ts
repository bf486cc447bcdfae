import type { InvalidationMode } from '../../../src/cache/entry.ts';
import {
  campaignDocument,
  type Responder,
  requestIds,
  respondWithBody,
  respondWithJson,
} from '../../helpers/upstream.ts';
import type { Interval } from './load-generator.ts';

/** How the campaign service responds for a campaign: its document, a 404 or a 500. */
type State = 'present' | 'missing' | 'failing';

/** By the prefix of the campaign id, the states of even and odd versions. Any other campaign is always present. */
const states: Readonly<Record<string, readonly [even: State, odd: State]>> = {
  flip: ['present', 'missing'],
  flaky: ['present', 'failing'],
  none: ['missing', 'missing'],
  sick: ['failing', 'failing'],
};

interface Version {
  readonly changedAt: number;
  readonly mode: InvalidationMode;
  /** When the event of the change was accepted. */
  invalidatedAt: number;
}

/** Slow enough that faults happen while requests are in flight. */
const RESPONSE_DELAY_MS = 60;

/** An event is in force on every gateway within this time. */
const INVALIDATION_MS = 1000;

/**
 * A campaign service whose documents carry their version as name. Records when each version was current. Campaigns are named
 * ACCOUNT_GROUP_ID/CAMPAIGN_ID.
 */
export class Campaigns {
  readonly #versions = new Map<string, Version[]>();

  getState(campaign: string, version: number): State {
    const [, kind = ''] = /\/(\w+)_/.exec(campaign) ?? [];
    return states[kind]?.[version % 2] ?? 'present';
  }

  /** Responds after a delay with the version that was current when the request arrived. */
  readonly respond: Responder = (request, response) => {
    const { accountGroupId, campaignId } = requestIds(request);
    const campaign = `${accountGroupId}/${campaignId}`;
    const version = this.#getVersions(campaign).length - 1;
    const document = { ...campaignDocument(campaignId, accountGroupId), name: `v${version}` };
    const etag = `"v${version}"`;
    const responders = {
      present: request.headers['if-none-match'] === etag ? respondWithBody('', 304) : respondWithJson(document),
      missing: respondWithJson({}, 404),
      failing: respondWithJson({}, 500),
    };
    const state = this.getState(campaign, version);
    if (state === 'present') response.setHeader('etag', etag);
    setTimeout(() => responders[state](request, response), RESPONSE_DELAY_MS);
  };

  /** Starts a new version of each campaign and invalidates them. */
  async change(campaigns: readonly string[], mode: InvalidationMode, invalidate: () => Promise<void>): Promise<void> {
    const version: Version = { changedAt: Date.now(), mode, invalidatedAt: Number.POSITIVE_INFINITY };
    for (const campaign of campaigns) this.#getVersions(campaign).push(version);
    await invalidate();
    version.invalidatedAt = Date.now();
  }

  /**
   * The versions that a response in this interval may have. One that its `Cache-Status` reports as stale may predate soft
   * events, because the next reader starts the refresh, which may fail.
   */
  allowedVersions(campaign: string, { from, to }: Interval, isStale: boolean): number[] {
    const all = [...this.#getVersions(campaign).entries()];
    const isInForce = ([, { mode, invalidatedAt }]: [number, Version]) =>
      invalidatedAt + INVALIDATION_MS <= from && !(isStale && mode === 'soft');
    const oldest = all.findLast(isInForce)?.[0] ?? 0;
    return all.filter(([i, { changedAt }]) => i >= oldest && changedAt <= to).map(([i]) => i);
  }

  #getVersions(campaign: string): Version[] {
    const versions = this.#versions.get(campaign) ?? [{ changedAt: 0, mode: 'hard', invalidatedAt: 0 }];
    this.#versions.set(campaign, versions);
    return versions;
  }
}
