import type { InvalidationMode } from '../../../src/cache/entry.ts';
import {
  campaignDocument,
  type Responder,
  requestIds,
  respondWithBody,
  respondWithJson,
} from '../../helpers/upstream.ts';
import type { Interval } from './load-generator.ts';

/** By the prefix of the campaign id, the status of even and odd versions. That of any other campaign is 200. */
const statuses: Readonly<Record<string, readonly [even: number, odd: number]>> = {
  flip: [200, 404],
  flaky: [200, 500],
  none: [404, 404],
  sick: [500, 500],
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

  getStatus(campaign: string, version: number): number {
    const [, kind = ''] = /\/(\w+)_/.exec(campaign) ?? [];
    return statuses[kind]?.[version % 2] ?? 200;
  }

  /** Responds after a delay with the version that was current when the request arrived. */
  readonly respond: Responder = (request, response) => {
    const { accountGroupId, campaignId } = requestIds(request);
    const campaign = `${accountGroupId}/${campaignId}`;
    const version = this.#getVersions(campaign).length - 1;
    const status = this.getStatus(campaign, version);
    const document = { ...campaignDocument(campaignId, accountGroupId), name: `v${version}` };
    const etag = `"v${version}"`;
    if (status === 200) response.setHeader('etag', etag);
    const isUnchanged = status === 200 && request.headers['if-none-match'] === etag;
    const respond = isUnchanged ? respondWithBody('', 304) : respondWithJson(document, status);
    setTimeout(() => respond(request, response), RESPONSE_DELAY_MS);
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
