import { afterEach, beforeEach, expect, test } from 'vitest';
import { isInstalled } from '../../helpers/debian-package.ts';
import { Campaigns } from './campaigns.ts';
import { newClients } from './clients.ts';
import { injectFaults } from './faults.ts';
import { ElasticFleet } from './fleet.ts';
import { LoadGenerator } from './load-generator.ts';
import { MixedRequests } from './mixed-requests.ts';
import { overlaps } from './observation.ts';
import { Outages } from './outages.ts';
import { createReport } from './report.ts';

// Only Linux accepts source addresses such as 127.0.0.2 without configuration.
const hasNginx = process.platform === 'linux' && isInstalled('nginx');
const DURATION_MS = 60_000;
const statuses = [200, 304, 400, 401, 403, 404, 405, 429, 502];

let fleet: ElasticFleet | undefined;

beforeEach(async () => {
  fleet = hasNginx ? await ElasticFleet.start(4) : undefined;
}, 120_000);
afterEach(() => fleet?.stop());

test.skipIf(!hasNginx)(
  'while gateways, keys and campaigns come and go, every response is correct and no request is lost',
  async ({ annotate }) => {
    if (!fleet) return;
    const campaigns = new Campaigns();
    fleet.stack.upstream.respond = campaigns.respond;
    const clients = await newClients(fleet.stack);
    const requests = new MixedRequests(clients);
    const load = new LoadGenerator(fleet.nginx.url, 200, requests.next, requests.onObservation);
    const revocations = await injectFaults({ fleet, campaigns, clients, load }, DURATION_MS);

    const { nginx, kills, everyGateway } = fleet;
    const outages = new Outages(everyGateway, load.stalls);
    const report = createReport(load.observations, { campaigns, revocations, outages }, kills);
    const { violations, lost, ...figures } = report;
    const retriedByNginx = await nginx.countRetried();
    const counts = {
      violations: violations.length,
      lost: lost.length,
      revocations: revocations.size,
      kills: kills.length,
      reloads: nginx.reloads.length,
      retriedByNginx,
      resent: load.resent.length,
      stalls: load.stalls.length,
    };
    await annotate(JSON.stringify({ ...figures, ...counts }));
    expect(violations.slice(0, 20)).toEqual([]);
    expect(lost.slice(0, 20)).toEqual([]);
    expect(report.rateLimits.map(({ overAdmitted, underAdmitted }) => [overAdmitted, underAdmitted])).toEqual(
      Array(5).fill([0, 0]),
    );
    expect(load.resent.filter((interval) => !nginx.reloads.some((reload) => overlaps(reload, interval)))).toEqual([]);

    // The run covered every status and kind of fault, mostly without outages.
    expect(report.statuses).toMatchObject(Object.fromEntries(statuses.map((status) => [status, expect.any(Number)])));
    expect(report.lenient).toBeLessThan(load.observations.length / 2);
    for (const { admitted, admittedOutsideOutages } of report.rateLimits) {
      expect(admittedOutsideOutages).toBeGreaterThan(admitted / 4);
    }
    expect(everyGateway.filter(({ log }) => !log.some(({ msg }) => msg === 'request completed'))).toEqual([]);
    expect(fleet.crashed).toEqual([]);
    expect(retriedByNginx).toBeGreaterThan(0);
  },
  240_000,
);
