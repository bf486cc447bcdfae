import type { Campaigns } from './campaigns.ts';
import { type Clients, newClient } from './clients.ts';
import type { ElasticFleet } from './fleet.ts';
import type { LoadGenerator } from './load-generator.ts';
import { campaignIds } from './mixed-requests.ts';
import type { Interval } from './observation.ts';

interface Target {
  readonly fleet: ElasticFleet;
  readonly campaigns: Campaigns;
  readonly clients: Clients;
  readonly load: LoadGenerator;
}

interface Progress {
  readonly isOver: () => boolean;
  /** Waits for this many responses. */
  readonly responses: (count: number) => Promise<void>;
}

/** Injects faults and changes for `durationMs`, then stops the load. Returns the revocations by key. */
export async function injectFaults(
  { fleet, campaigns, clients, load }: Target,
  durationMs: number,
): Promise<Map<string, Interval>> {
  const endsAt = Date.now() + durationMs;
  let hasFailed = false;
  const progress = { isOver: () => hasFailed || Date.now() > endsAt, responses: (count: number) => load.more(count) };
  const revocations = revokeKeys(fleet, clients, progress);
  const all = [revocations, changeCampaigns(fleet, campaigns, progress), changeFleet(fleet, progress)];
  for (const one of all) {
    one.catch(() => {
      hasFailed = true;
    });
  }
  await Promise.allSettled(all); // All have stopped before the fleet does.
  await load.stop();
  await Promise.all(all);
  return revocations;
}

/** Kills, replaces and drains gateways in turn, each at least once. */
async function changeFleet(fleet: ElasticFleet, { isOver, responses }: Progress): Promise<void> {
  const killAndReplace = async (count: number) => {
    await fleet.kill(count);
    await responses(200);
    await fleet.add(count);
  };
  const steps = [
    () => killAndReplace(1),
    async () => {
      await fleet.add(1);
      await fleet.drain({ isAnnounced: true });
    },
    async () => {
      await fleet.drain({ isAnnounced: false });
      await responses(200);
      await fleet.add(1);
    },
    () => killAndReplace(2),
  ];
  for (let i = 0; i < steps.length || !isOver(); i++) {
    await responses(300);
    await steps[i % steps.length]?.();
  }
  await responses(100); // Lets the last added gateway serve some.
}

/**
 * Changes and invalidates single campaigns and, less often, a whole account group, softly and hard in turn. Each change is
 * repeated three times quickly, so that a refetch after one event is still in flight at the next.
 */
async function changeCampaigns(fleet: ElasticFleet, campaigns: Campaigns, progress: Progress): Promise<void> {
  for (let i = 0; !progress.isOver(); i++) {
    const accountGroupId = i % 7 === 6 ? 'ag_2' : 'ag_1';
    const ids = campaignIds[accountGroupId];
    const campaignId = i % 7 < 5 ? ids[i % ids.length] : undefined;
    const changed = campaignId === undefined ? ids : [campaignId];
    for (const [count, mode] of [
      [10, 'soft'],
      [10, 'hard'],
      [180, i % 2 === 0 ? 'soft' : 'hard'],
    ] as const) {
      await campaigns.change(
        changed.map((id) => `${accountGroupId}/${id}`),
        mode,
        () => fleet.invalidate({ accountGroupId, campaignId, mode }),
      );
      await progress.responses(count);
    }
  }
}

/** Revokes one key after another. The revoked keys stay in use, and a new client joins for each. */
async function revokeKeys(
  { stack }: ElasticFleet,
  { revocable }: Clients,
  { isOver, responses }: Progress,
): Promise<Map<string, Interval>> {
  const revocations = new Map<string, Interval>();
  for (let i = 0; !isOver(); i++) {
    await responses(700);
    const key = revocable[i]?.key ?? '';
    const from = Date.now();
    revocations.set(key, { from, to: Number.POSITIVE_INFINITY });
    await stack.revoke(key);
    revocations.set(key, { from, to: Date.now() });
    revocable.push(await newClient(stack));
  }
  return revocations;
}
