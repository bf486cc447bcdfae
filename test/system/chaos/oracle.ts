import { identifier } from '../../../src/endpoints/identifier.ts';
import { checkAgainstOpenApi } from '../../helpers/openapi-contract.ts';
import type { Campaigns } from './campaigns.ts';
import type { Interval, Observation } from './load-generator.ts';
import { accountGroups } from './requests.ts';

/** Checks responses against the documented behavior, in the order of the stages. */
export class Oracle {
  readonly #campaigns: Campaigns;
  readonly #revocations: ReadonlyMap<string, Interval>;
  /** The campaign version of each entity tag of a path. */
  readonly #versionByTag = new Map<string, number>();

  /** `revocations`: from the start of a revocation to its completion, by key. */
  constructor(campaigns: Campaigns, revocations: ReadonlyMap<string, Interval>, observations: readonly Observation[]) {
    this.#campaigns = campaigns;
    this.#revocations = revocations;
    for (const observed of observations) {
      const version = parseVersion(observed);
      if (version !== undefined) this.#versionByTag.set(tagOf(observed), version);
    }
  }

  /** Returns what is wrong with the response of a gateway, or undefined. */
  findViolation(observed: Observation): string | undefined {
    return checkSchema(observed) ?? this.#checkKey(observed) ?? this.#checkRequest(observed);
  }

  #checkKey({ status, client, from, to }: Observation): string | undefined {
    const revocation = this.#revocations.get(client.key ?? '');
    const mayBeValid = client.hasValidKey && !(revocation && from > revocation.to);
    const mayBeInvalid = !client.hasValidKey || (revocation && to >= revocation.from);
    if (status === 401) return mayBeInvalid ? undefined : 'a valid key is rejected';
    if (status === 429) return client.limit ? undefined : 'rejected below the rate limit';
    return mayBeValid ? undefined : 'an invalid key is accepted';
  }

  #checkRequest(observed: Observation): string | undefined {
    const { status, method, path } = observed;
    if (status === 401 || status === 429) return undefined;
    const [, accountGroup = '', campaign = ''] = /^\/v1\/accounts\/([^/]+)\/campaigns\/([^/]+)$/.exec(path) ?? [];
    const expectStatus = (expected: number) => (status === expected ? undefined : `must be a ${expected}`);
    if (campaign === '') return expectStatus(404);
    if (method === 'DELETE') return expectStatus(405);
    if (![accountGroup, campaign].every((id) => identifier.safeParse(id).success)) return expectStatus(400);
    if (!accountGroups.includes(accountGroup)) return expectStatus(403);
    return this.#checkCampaign(observed, `${accountGroup}/${campaign}`);
  }

  #checkCampaign(observed: Observation, campaign: string): string | undefined {
    const { status, body, header } = observed;
    const isStale = /; ttl=-/.test(header('cache-status') ?? '');
    const allowed = this.#campaigns.allowedVersions(campaign, observed, isStale);
    const withStatus = (expected: number) =>
      allowed.filter((version) => this.#campaigns.getStatus(campaign, version) === expected);
    if (status === 200 || status === 304) return this.#checkVersion(observed, withStatus(200));
    if (status === 404) return withStatus(404).length > 0 ? undefined : 'a 404 for an existing campaign';
    const isExpected = status === 502 && withStatus(500).length > 0 && body.includes('"status: ');
    return isExpected ? undefined : `an unexpected ${status}`;
  }

  #checkVersion(observed: Observation, allowed: readonly number[]): string | undefined {
    const { status, header, ifNoneMatch } = observed;
    if ((status === 304) !== (header('etag') === ifNoneMatch)) return 'If-None-Match is evaluated wrongly';
    const tagged = this.#versionByTag.get(tagOf(observed));
    const version = parseVersion(observed) ?? tagged;
    if (version === undefined) return undefined; // A HEAD response of a version that no body had.
    if (version !== tagged) return 'an entity tag of another version';
    return allowed.includes(version) ? undefined : `v${version} where only v${allowed} is allowed`;
  }
}

const tagOf = ({ path, header }: Observation): string => `${path} ${header('etag')}`;

function parseVersion({ status, method, body }: Observation): number | undefined {
  if (status !== 200 || method === 'HEAD') return undefined;
  return Number(JSON.parse(body).data.name.slice(1));
}

/** Checks the response against the OpenAPI document, and that it has the requested campaign. */
function checkSchema({ method, path, status, header, body }: Observation): string | undefined {
  try {
    checkAgainstOpenApi({ method, path, status, header, headerNames: [], body });
  } catch (error) {
    return String(error);
  }
  if (status !== 200 || method === 'HEAD') return undefined;
  return path.endsWith(`/${JSON.parse(body).data.id}`) ? undefined : 'another campaign';
}
