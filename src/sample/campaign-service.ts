import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { campaigns, type Fault, faults, sampleCampaign } from './campaigns.ts';

/**
 * A sample campaign service: some campaigns, and some ids that trigger faults. It listens on SAMPLE_HOST (127.0.0.1) and
 * SAMPLE_PORT (8081; 0 picks a free port).
 */
const PATH = /^\/internal\/v1\/accounts\/([^/]+)\/campaigns\/([^/]+)$/;
const SLOW_MS = 1500;

const server = createServer((request, response) => {
  const [, accountGroupId = '', campaignId = ''] = PATH.exec(request.url ?? '') ?? [];
  const fault = Object.hasOwn(faults, campaignId) ? faults[campaignId] : undefined;
  if (fault) {
    const campaign = sampleCampaign(accountGroupId, campaignId, 'Faulty campaign', 2);
    injectFault[fault](response, JSON.stringify(campaign)).catch(() => response.destroy());
    return;
  }
  const campaign = campaigns.find(({ id, accountGroupId: group }) => id === campaignId && group === accountGroupId);
  if (campaign) sendJson(response, 200, JSON.stringify(campaign));
  else sendJson(response, 404, '{"error":"no such campaign"}');
});

const injectFault: Record<Fault, (response: ServerResponse, campaign: string) => Promise<void>> = {
  slow: async (response, campaign) => {
    await sleep(SLOW_MS);
    sendJson(response, 200, campaign);
  },
  silent: async () => {},
  error: async (response) => sendJson(response, 500, '{"error":"NullPointerException at internal.db:5432"}'),
  unavailable: async (response) => sendJson(response, 503, '{"error":"down for maintenance"}'),
  'invalid-json': async (response, campaign) => sendJson(response, 200, campaign.slice(0, -200)),
  truncated: async (response, campaign) => {
    response.writeHead(200, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(campaign) });
    response.write(campaign.slice(0, 100), () => response.destroy());
  },
  reset: async (response) => {
    response.socket?.resetAndDestroy();
  },
  html: async (response) => {
    response.writeHead(200, { 'content-type': 'text/html' });
    response.end('<!doctype html><title>Welcome to nginx</title>');
  },
  redirect: async (response) => {
    response.writeHead(302, { location: 'http://127.0.0.1/elsewhere' });
    response.end();
  },
  'too-large': async (response, campaign) => sendJson(response, 200, campaign + ' '.repeat(2 * 1024 * 1024)),
  incomplete: async (response) => sendJson(response, 200, '{"id":"cmp_incomplete","name":"No other field"}'),
  gone: async (response) => sendJson(response, 410, '{"error":"deleted"}'),
};

function sendJson(response: ServerResponse, status: number, body: string): void {
  response.writeHead(status, {
    'content-type': 'application/json',
    'content-length': Buffer.byteLength(body),
    'set-cookie': 'internal-session=not-for-clients',
    server: 'sample-campaign-service',
  });
  response.end(body);
}

process.on('SIGTERM', () => process.exit(0));
process.on('SIGINT', () => process.exit(0));

server.listen(Number(process.env['SAMPLE_PORT'] ?? 8081), process.env['SAMPLE_HOST'] ?? '127.0.0.1', () => {
  const { address, port } = server.address() as AddressInfo;
  console.log(`sample campaign service: http://${address}:${port}`);
});
