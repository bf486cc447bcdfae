import { afterEach, beforeEach, expect, test } from 'vitest';
import { ensureProgram } from '../helpers/debian-package.ts';
import { Campaigns } from './campaigns.ts';
import { newClients } from './clients.ts';
import { happenings } from './faults.ts';
import { ElasticFleet } from './fleet.ts';
import { SteadyLoad } from './load-generator.ts';
import { MixedRequests } from './mixed-requests.ts';
import { overlaps } from './observation.ts';
import { Trouble } from './outages.ts';
import { judgeAll } from './report.ts';

// Elsewhere a machine has no address 127.0.0.2, from which another client could come.
const hasNginx = process.platform === 'linux' && ensureProgram('nginx', 'nginx');
const DURATION_MS = 60_000;
const statuses = [200, 304, 400, 401, 403, 404, 405, 429, 502];

let fleet: ElasticFleet | undefined;

beforeEach(async () => {
  fleet = hasNginx ? await ElasticFleet.start(4) : undefined;
}, 120_000);
afterEach(() => fleet?.stop());

test.skipIf(!hasNginx)(
  'a minute of all kinds of requests, while gateways, keys and campaigns come and go: all answers are right, and none is lost',
  async ({ annotate }) => {
    if (!fleet) return;
    const campaigns = new Campaigns();
    fleet.stack.upstream.answer = campaigns.answer;
    const clients = await newClients(fleet.stack);
    const requests = new MixedRequests(clients);
    const load = new SteadyLoad(fleet.nginx.url, 200, requests.next, requests.seen);
    const revocations = await happenings({ fleet, campaigns, clients, load }, DURATION_MS);

    const trouble = new Trouble(fleet.everyone, load.standstills);
    const verdict = judgeAll(load.observations, { campaigns, revocations, trouble }, fleet.kills);
    const { nginx, kills } = fleet;
    const { faults, lost, ...figures } = verdict;
    const [passedOn, sentAgain] = [await nginx.passedOn(), load.sentAgain.length];
    const more = {
      revoked: revocations.size,
      kills: kills.length,
      reloads: nginx.reloads.length,
      passedOn,
      sentAgain,
      standstills: load.standstills.length,
    };
    await annotate(JSON.stringify({ ...figures, ...more, faults: faults.length, lost: lost.length }));
    expect(faults.slice(0, 20)).toEqual([]);
    expect(lost.slice(0, 20)).toEqual([]);
    expect(verdict.limits.map(({ tooMany, tooFew }) => [tooMany, tooFew])).toEqual(Array(5).fill([0, 0]));
    expect(load.sentAgain.filter((time) => !nginx.reloads.some((reload) => overlaps(reload, time)))).toEqual([]);

    // All of it has come to pass, on gateways that were in no trouble for most of the time.
    expect(verdict.statuses).toMatchObject(Object.fromEntries(statuses.map((status) => [status, expect.any(Number)])));
    expect(verdict.excused).toBeLessThan(load.observations.length / 2);
    for (const { admitted, calm } of verdict.limits) expect(calm).toBeGreaterThan(admitted / 4);
    expect(fleet.everyone.filter(({ log }) => !log.some(({ msg }) => msg === 'request completed'))).toEqual([]);
    expect(fleet.died).toEqual([]);
    expect(passedOn).toBeGreaterThan(0);
  },
  240_000,
);
