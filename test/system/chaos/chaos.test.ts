import { expect, onTestFinished, test } from 'vitest';
import { isInstalled } from '../../helpers/debian-package.ts';
import { Campaigns } from './campaigns.ts';
import { ElasticFleet } from './fleet.ts';
import { changingCampaigns, type Keys, mixRequests } from './requests.ts';
import { type Interval, type Observation, Traffic } from './traffic.ts';

const DURATION_MS = 60_000;
/** Too slow to refill during the test. */
const LIMIT = 200;

let fleet: ElasticFleet;
let keys: Keys;
let traffic: Traffic;
let endsAt: number;
const campaigns = new Campaigns();
/** From the start of a revocation to its completion, by key. */
const revocations = new Map<string, Interval>();

test.skipIf(!isInstalled('nginx'))(
  'while gateways, keys and campaigns come and go, every response is correct and no request is lost',
  async () => {
    fleet = await ElasticFleet.start();
    onTestFinished(() => fleet.stop());
    await fleet.add(4);
    fleet.stack.upstream.respond = campaigns.respond;
    keys = { valid: await newKey(), limited: await newKey(`${LIMIT}/1d`), revocable: [await newKey()] };
    traffic = new Traffic(fleet.nginx.url, mixRequests(keys));
    endsAt = Date.now() + DURATION_MS;
    const changes = [changeFleet(), changeCampaigns(), revokeKeys()];
    await Promise.allSettled(changes); // All have ended before the fleet stops.
    await traffic.stop();
    await Promise.all(changes);

    const handled = traffic.observations.filter(({ status }) => status !== 0);
    const lost = traffic.observations.filter((one) => one.status === 0 && !fleet.isAffectedByKill(one));
    expect(lost).toEqual([]);
    expect(handled.filter((one) => !isCorrect(one))).toEqual([]);
    expect(fleet.serving.filter(({ process }) => process.exitCode !== null || process.signalCode !== null)).toEqual([]);
    const admitted = handled.filter(({ key, status }) => key === keys.limited && status !== 429);
    expect(admitted.length).toBeLessThanOrEqual(LIMIT);

    // The run covered every status, and every gateway served requests.
    const statuses = new Set(handled.map(({ status }) => status));
    expect(statuses).toEqual(new Set([200, 304, 400, 401, 403, 404, 405, 429, 502]));
    expect(fleet.everyGateway.filter(({ log }) => !log.some(({ msg }) => msg === 'request completed'))).toEqual([]);
  },
  240_000,
);

const newKey = (limit = '1000000/1s') => fleet.stack.key({ accountGroupIds: ['ag_1', 'ag_2'], rateLimits: [limit] });

/** Whether the response follows from the key, the request and the versions of the campaign. */
function isCorrect(one: Observation): boolean {
  if (one.problem !== undefined) return false;
  const revocation = revocations.get(one.key ?? '');
  const isRevoked = revocation !== undefined && one.from > revocation.to;
  if (one.status === 401) return one.expectedStatus === 401 || (revocation !== undefined && one.to >= revocation.from);
  if (isRevoked) return false;
  if (one.status === 429) return one.key === keys.limited;
  return one.expectedStatus === undefined ? campaigns.allow(one) : one.status === one.expectedStatus;
}

/** Kills and drains gateways in turn, each at least once, and replaces them. */
async function changeFleet(): Promise<void> {
  const steps = [() => fleet.kill(1), () => fleet.drain(), () => fleet.kill(2)];
  for (let i = 0; i < steps.length || Date.now() < endsAt; i++) {
    await traffic.more(300);
    await steps[i % steps.length]?.();
    await traffic.more(200);
    await fleet.add(4 - fleet.serving.length);
  }
  await traffic.more(100); // The last added gateway serves some.
}

/**
 * Changes and invalidates single campaigns and, less often, a whole account group, softly and hard in turn. Each change is
 * repeated three times quickly, so that a refetch after one event is still in flight at the next.
 */
async function changeCampaigns(): Promise<void> {
  for (let i = 0; Date.now() < endsAt; i++) {
    const accountGroupId = i % 7 === 6 ? 'ag_2' : 'ag_1';
    const all = changingCampaigns.filter((path) => path.includes(accountGroupId));
    const one = i % 7 < 5 ? all[i % all.length] : undefined;
    const campaignId = one?.split('/').at(-1);
    for (const [mode, responses] of [
      ['soft', 10],
      ['hard', 10],
      [i % 2 === 0 ? 'soft' : 'hard', 180],
    ] as const) {
      await campaigns.change(one ? [one] : all, mode, () => fleet.invalidate({ accountGroupId, campaignId, mode }));
      await traffic.more(responses);
    }
  }
}

/** Revokes one key after another. The revoked keys stay in use, and a new one joins for each. */
async function revokeKeys(): Promise<void> {
  for (let i = 0; Date.now() < endsAt; i++) {
    keys.revocable.push(await newKey());
    await traffic.more(700);
    const key = keys.revocable[i] as string;
    const from = Date.now();
    revocations.set(key, { from, to: Number.POSITIVE_INFINITY });
    await fleet.stack.revoke(key);
    revocations.set(key, { from, to: Date.now() });
  }
}
