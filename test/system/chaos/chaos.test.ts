import { expect, onTestFinished, test } from 'vitest';
import { isInstalled } from '../../helpers/debian-package.ts';
import { Campaigns } from './campaigns.ts';
import { ElasticFleet } from './fleet.ts';
import { type Interval, LoadGenerator, type Observation, overlaps } from './load-generator.ts';
import { Oracle } from './oracle.ts';
import { findLimitViolations } from './rate-limit-oracle.ts';
import { type Clients, changingCampaigns, mixRequests, newClient, newClients } from './requests.ts';

// Only Linux accepts source addresses such as 127.0.0.2 without configuration.
const hasNginx = process.platform === 'linux' && isInstalled('nginx');
const DURATION_MS = 60_000;

let fleet: ElasticFleet;
let clients: Clients;
let load: LoadGenerator;
let endsAt: number;
const campaigns = new Campaigns();
const revocations = new Map<string, Interval>();

test.skipIf(!hasNginx)(
  'while gateways, keys and campaigns come and go, every response is correct and no request is lost',
  async () => {
    fleet = await ElasticFleet.start();
    onTestFinished(() => fleet.stop());
    await fleet.add(4);
    fleet.stack.upstream.respond = campaigns.respond;
    clients = await newClients(fleet.stack);
    load = new LoadGenerator(fleet.nginx.url, mixRequests(clients));
    endsAt = Date.now() + DURATION_MS;
    const changes = [changeFleet(), changeCampaigns(), revokeKeys()];
    await Promise.allSettled(changes); // All have ended before the fleet stops.
    await load.stop();
    await Promise.all(changes);

    const { observations } = load;
    const handled = observations.filter((one) => !isLost(one));
    const lost = observations.filter((one) => isLost(one) && !fleet.kills.some((kill) => overlaps(kill, one)));
    expect(lost.map(describeObservation)).toEqual([]);
    expect(findViolations(handled)).toEqual([]);
    expect(fleet.serving.filter(({ process }) => process.exitCode !== null || process.signalCode !== null)).toEqual([]);

    // The run covered every status, and every gateway served requests.
    const statuses = new Set(handled.map(({ status }) => status));
    expect(statuses).toEqual(new Set([200, 304, 400, 401, 403, 404, 405, 429, 502]));
    expect(fleet.everyGateway.filter(({ log }) => !log.some(({ msg }) => msg === 'request completed'))).toEqual([]);
  },
  240_000,
);

/** Kills and drains gateways in turn, each at least once, and replaces them. */
async function changeFleet(): Promise<void> {
  const killAndReplace = async (count: number) => {
    await fleet.kill(count);
    await load.more(200);
    await fleet.add(count);
  };
  const steps = [
    () => killAndReplace(1),
    async () => {
      await fleet.drain();
      await load.more(200);
      await fleet.add(1);
    },
    () => killAndReplace(2),
  ];
  for (let i = 0; i < steps.length || Date.now() < endsAt; i++) {
    await load.more(300);
    await steps[i % steps.length]?.();
  }
  await load.more(100); // The last added gateway serves some.
}

/**
 * Changes and invalidates single campaigns and, less often, a whole account group, softly and hard in turn. Each change is
 * repeated three times quickly, so that a refetch after one event is still in flight at the next.
 */
async function changeCampaigns(): Promise<void> {
  for (let i = 0; Date.now() < endsAt; i++) {
    const accountGroupId = i % 7 === 6 ? 'ag_2' : 'ag_1';
    const all = changingCampaigns.filter((name) => name.startsWith(accountGroupId));
    const one = i % 7 < 5 ? all[i % all.length] : undefined;
    const campaignId = one?.split('/')[1];
    for (const [mode, responses] of [
      ['soft', 10],
      ['hard', 10],
      [i % 2 === 0 ? 'soft' : 'hard', 180],
    ] as const) {
      await campaigns.change(one ? [one] : all, mode, () => fleet.invalidate({ accountGroupId, campaignId, mode }));
      await load.more(responses);
    }
  }
}

/** Revokes one key after another. The revoked keys stay in use, and a new client joins for each. */
async function revokeKeys(): Promise<void> {
  for (let i = 0; Date.now() < endsAt; i++) {
    await load.more(700);
    const key = clients.revocable[i]?.key ?? '';
    const from = Date.now();
    revocations.set(key, { from, to: Number.POSITIVE_INFINITY });
    await fleet.stack.revoke(key);
    revocations.set(key, { from, to: Date.now() });
    clients.revocable.push(await newClient(fleet.stack));
  }
}

/** Whether no gateway responded: no response, or one made by nginx. At this load no gateway sends a 503. */
const isLost = ({ status, header }: Observation): boolean =>
  status === 0 || status === 503 || header('x-trace-id') === null;

/** What is wrong with the responses, and with the decisions on each client that has a limit. */
function findViolations(handled: readonly Observation[]): string[] {
  const oracle = new Oracle(campaigns, revocations, handled);
  const violations = handled.flatMap((one) => {
    const violation = oracle.findViolation(one);
    return violation === undefined ? [] : [`${violation}: ${describeObservation(one)}`];
  });
  const byAddress = Map.groupBy(handled, ({ client }) => client.address);
  const limitViolations = [...byAddress].flatMap(([address, all]) => {
    const limit = all[0]?.client.limit;
    return limit ? findLimitViolations(all, limit, fleet.kills).map((violation) => `${address}: ${violation}`) : [];
  });
  return [...violations, ...limitViolations].slice(0, 20);
}

const describeObservation = (one: Observation): string =>
  JSON.stringify({ ...one, etag: one.header('etag'), cacheStatus: one.header('cache-status') });
