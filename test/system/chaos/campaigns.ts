import type { InvalidationMode } from '../../../src/cache/entry.ts';
import {
  campaignDocument,
  type Responder,
  requestIds,
  respondWithBody,
  respondWithJson,
} from '../../helpers/upstream.ts';
import type { Observation } from './traffic.ts';

/** By the prefix of the campaign id, the status of even and odd versions. That of any other campaign is 200. */
const statuses: Readonly<Record<string, readonly [even: number, odd: number]>> = {
  flip: [200, 404],
  flaky: [200, 502],
  none: [404, 404],
  sick: [502, 502],
};

interface Version {
  readonly changedAt: number;
  readonly mode: InvalidationMode;
  /** When the invalidation was accepted. */
  invalidatedAt: number;
}

/** Slow enough that faults happen while requests are in flight. */
const RESPONSE_DELAY_MS = 60;

/** An invalidation is in force on every gateway within this time. */
const INVALIDATION_MS = 1000;

function getStatus(path: string, version: number): number {
  const [, kind = ''] = /\/campaigns\/([a-z]+)_/.exec(path) ?? [];
  return statuses[kind]?.[version % 2] ?? 200;
}

/** A campaign service whose documents carry their version as name. Records when each version was current, by path. */
export class Campaigns {
  readonly #versions = new Map<string, Version[]>();

  /** Responds after a delay with the version that was current when the request arrived. */
  readonly respond: Responder = (request, response) => {
    const { accountGroupId, campaignId } = requestIds(request);
    const path = `/v1/accounts/${accountGroupId}/campaigns/${campaignId}`;
    const version = this.#getVersions(path).length - 1;
    const status = getStatus(path, version);
    const document = { ...campaignDocument(campaignId, accountGroupId), name: `v${version}` };
    const etag = `"v${version}"`;
    if (status === 200) response.setHeader('etag', etag);
    const isUnchanged = status === 200 && request.headers['if-none-match'] === etag;
    const respond = isUnchanged ? respondWithBody('', 304) : respondWithJson(document, status === 502 ? 500 : status);
    setTimeout(() => respond(request, response), RESPONSE_DELAY_MS);
  };

  /** Starts a new version of each campaign and invalidates them. */
  async change(paths: readonly string[], mode: InvalidationMode, invalidate: () => Promise<void>): Promise<void> {
    const version: Version = { changedAt: Date.now(), mode, invalidatedAt: Number.POSITIVE_INFINITY };
    for (const path of paths) this.#getVersions(path).push(version);
    await invalidate();
    version.invalidatedAt = Date.now();
  }

  /**
   * Whether a response shows a version that was current while the request was in flight, or older but not invalidated a
   * second before. A stale response may predate soft invalidations, because the refresh that they cause may fail.
   */
  allow({ path, from, to, status, version, isStale }: Observation): boolean {
    const all = this.#getVersions(path);
    const isInForce = ({ mode, invalidatedAt }: Version) =>
      invalidatedAt + INVALIDATION_MS <= from && !(isStale && mode === 'soft');
    const oldest = all.findLastIndex(isInForce);
    return all.some(
      ({ changedAt }, i) =>
        i >= oldest &&
        changedAt <= to &&
        getStatus(path, i) === (status === 304 ? 200 : status) &&
        (version === undefined || version === i),
    );
  }

  #getVersions(path: string): Version[] {
    const versions = this.#versions.get(path) ?? [{ changedAt: 0, mode: 'hard', invalidatedAt: 0 }];
    this.#versions.set(path, versions);
    return versions;
  }
}
