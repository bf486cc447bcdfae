import { pino } from 'pino';
import { openPurger } from '../../src/cli/open-stores.ts';
import { loadSettings } from '../../src/settings/load.ts';
import type { Campaigns } from './campaigns.ts';
import { type Clients, newClient } from './clients.ts';
import type { ElasticFleet } from './fleet.ts';
import type { SteadyLoad } from './load-generator.ts';
import { campaignIds } from './mixed-requests.ts';
import type { Interval } from './observation.ts';

interface Course {
  readonly isOver: () => boolean;
  /** Waits for so many. */
  readonly answers: (count: number) => Promise<void>;
}

interface Parts {
  readonly fleet: ElasticFleet;
  readonly campaigns: Campaigns;
  readonly clients: Clients;
  readonly load: SteadyLoad;
}

/** All that happens to a load for so long. Gives when each key was being revoked. */
export async function happenings(
  { fleet, campaigns, clients, load }: Parts,
  durationMs: number,
): Promise<Map<string, Interval>> {
  const endsAt = Date.now() + durationMs;
  let hasFailed = false;
  const course = { isOver: () => hasFailed || Date.now() > endsAt, answers: (count: number) => load.more(count) };
  const revoked = revokeKeys(fleet, clients, course);
  const all = [revoked, changeCampaigns(fleet, campaigns, course), changeFleet(fleet, course)];
  for (const one of all) {
    one.catch(() => {
      hasFailed = true;
    });
  }
  await Promise.allSettled(all); // Nothing goes on when the fleet is stopped.
  await load.stop();
  await Promise.all(all);
  return revoked;
}

/** Gateways are killed, replaced and drained, in turn, each at least once. */
async function changeFleet(fleet: ElasticFleet, { isOver, answers }: Course): Promise<void> {
  const steps = [
    async () => {
      await fleet.kill(1);
      await answers(200);
      await fleet.add(1);
    },
    async () => {
      await fleet.add(1);
      await fleet.drain({ isAnnounced: true });
    },
    async () => {
      await fleet.drain({ isAnnounced: false });
      await answers(200);
      await fleet.add(1);
    },
    async () => {
      await fleet.kill(2);
      await answers(200);
      await fleet.add(2);
    },
  ];
  for (let i = 0; i < steps.length || !isOver(); i++) {
    await answers(300);
    await steps[i % steps.length]?.();
  }
  await answers(100); // Some of them from the last one.
}

/**
 * Campaigns are changed and purged, one by one and now and then a whole account group. It happens three times in a row: what is
 * read anew after a purge is still on its way at the next.
 */
async function changeCampaigns(fleet: ElasticFleet, campaigns: Campaigns, course: Course): Promise<void> {
  const settings = loadSettings({ REDIS_URL: fleet.stack.redis.url }, ['REDIS_URL', 'REDIS_KEY_PREFIX', 'KEYS_FILE']);
  const { purge, close } = await openPurger(settings, pino({ level: 'silent' }));
  try {
    for (let i = 0; !course.isOver(); i++) {
      const accountGroupId = i % 7 === 6 ? 'ag_2' : 'ag_1';
      const ids = campaignIds[accountGroupId];
      const campaignId = i % 7 < 5 ? ids[i % ids.length] : undefined;
      const changed = campaignId === undefined ? ids : [campaignId];
      for (const answers of [10, 10, 180]) {
        await campaigns.change(
          changed.map((id) => `${accountGroupId}/${id}`),
          () => purge({ accountGroupId, documentId: campaignId }),
        );
        await course.answers(answers);
      }
    }
  } finally {
    await close();
  }
}

/** One key after another is revoked and goes on being used, and a new one takes its place. Gives when that was. */
async function revokeKeys(
  { stack }: ElasticFleet,
  { leaving }: Clients,
  { isOver, answers }: Course,
): Promise<Map<string, Interval>> {
  const revocations = new Map<string, Interval>();
  for (let i = 0; !isOver(); i++) {
    await answers(700);
    const key = leaving[i]?.key ?? '';
    const from = Date.now();
    revocations.set(key, { from, to: Number.POSITIVE_INFINITY });
    await stack.revoke(key);
    revocations.set(key, { from, to: Date.now() });
    leaving.push(await newClient(stack));
  }
  return revocations;
}
