import { setTimeout as pause } from 'node:timers/promises';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { ComposeProcesses, gatewayAddresses } from '../../helpers/compose-processes.ts';
import { isInstalled } from '../../helpers/debian-package.ts';
import { get } from '../../helpers/http.ts';
import type { RunningProcess } from '../../helpers/processes.ts';
import { until } from '../../helpers/wait.ts';

const isLinux = process.platform === 'linux'; // Other systems have no address 127.0.0.2.
const hasHaproxy = isLinux && isInstalled('haproxy');
const hasPrometheus = isLinux && isInstalled('prometheus');

let compose: ComposeProcesses;
let redis: RunningProcess;

beforeEach(async () => {
  compose = await ComposeProcesses.make();
  [redis] = await Promise.all([compose.startRedis(), compose.startCampaignService()]);
}, 120_000);
afterEach(() => compose?.stop());

const startGateways = () => Promise.all(gatewayAddresses.map((address) => compose.startGateway(address)));

async function createKey(): Promise<string> {
  const rights = '--permission campaigns:read --account-group ag_north --rate-limit 10000000/60s';
  const output = await compose.exec(['node', 'src/cli/main.ts', ...`keys create --name a ${rights} --json`.split(' ')]);
  return /"key":\s*"(cgw_[^"]+)"/.exec(output)?.[1] ?? '';
}

const campaign = '/v1/accounts/ag_north/campaigns/cmp_1';

test.skipIf(!hasHaproxy)(
  'the load balancer spreads requests over the gateways and forwards the client address',
  async () => {
    const key = await createKey();
    redis.signal('SIGTERM');
    expect(await redis.exited()).toBe(0);
    await compose.startRedis(); // With its data.
    const gateways = await startGateways();
    const url = await compose.startLoadBalancer();
    const served = (gateway: RunningProcess) => gateway.output.includes('"client_address":"127.0.0.1"');
    await until(async () => {
      const headers = { 'x-api-key': key, 'x-forwarded-for': '203.0.113.9' };
      const { status, body } = await get(url + campaign, headers);
      expect([status, body.data?.['id']]).toEqual([200, 'cmp_1']);
      return gateways.every(served);
    });
    for (const { output } of gateways) expect(output).not.toContain('203.0.113.9');
  },
);

test.skipIf(!hasHaproxy)('no request fails while a gateway is stopped and replaced', async () => {
  const key = await createKey();
  const [first] = await startGateways();
  const url = await compose.startLoadBalancer();
  const statuses = new Map<number, number>();
  let isDone = false;
  const sendRequests = async () => {
    while (!isDone) {
      const { status } = await get(url + campaign, { 'x-api-key': key });
      statuses.set(status, (statuses.get(status) ?? 0) + 1);
      await pause(5);
    }
  };
  const replace = async () => {
    first?.signal('SIGTERM');
    expect(await first?.exited()).toBe(0);
    const [address = ''] = gatewayAddresses;
    const next = await compose.startGateway(address);
    await until(() => next.output.includes('"status":200'));
  };
  const replaced = replace().finally(() => {
    isDone = true;
  });
  await Promise.all([replaced, sendRequests(), sendRequests()]);
  expect([...statuses.keys()]).toEqual([200]);
});

test.skipIf(!hasPrometheus)('Prometheus scrapes both gateways and loads the alerts', async () => {
  await startGateways();
  const url = await compose.startPrometheus();
  const callApi = async (path: string) => (await fetch(`${url}/api/v1/${path}`)).text();
  await until(async () => {
    const result = await callApi(`query?query=${encodeURIComponent('up{job="campaign-gateway"} == 1')}`);
    return gatewayAddresses.every((address) => result.includes(`"instance":"${address}:`));
  });
  expect(await callApi('rules?type=alert')).toContain('CampaignGatewayDown');
});
