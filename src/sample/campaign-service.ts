import { hash } from 'node:crypto';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { campaigns, sampleCampaign } from './campaigns.ts';
import { faults, sendJson } from './faults.ts';

/**
 * A sample campaign service: some campaigns, with entity tags, and some ids that trigger faults. It listens on
 * SAMPLE_HOST (127.0.0.1) and SAMPLE_PORT (8081; 0 picks a free port).
 */
const PATH = /^\/internal\/v1\/accounts\/([^/]+)\/campaigns\/([^/]+)$/;

const server = createServer((request, response) => {
  const [, accountGroupId = '', campaignId = ''] = PATH.exec(request.url ?? '') ?? [];
  if (Object.hasOwn(faults, campaignId)) {
    const campaign = sampleCampaign(accountGroupId, campaignId, 'Faulty campaign', 2);
    faults[campaignId]?.(response, JSON.stringify(campaign));
    return;
  }
  const campaign = campaigns.find(({ id, accountGroupId: group }) => id === campaignId && group === accountGroupId);
  if (!campaign) {
    sendJson(response, 404, '{"error":"no such campaign"}');
    return;
  }
  const body = JSON.stringify(campaign);
  const etag = `"${hash('sha256', body)}"`;
  response.setHeader('etag', etag);
  if (request.headers['if-none-match'] === etag) response.writeHead(304).end();
  else sendJson(response, 200, body);
});

process.on('SIGTERM', () => process.exit(0));
process.on('SIGINT', () => process.exit(0));

server.listen(Number(process.env['SAMPLE_PORT'] ?? 8081), process.env['SAMPLE_HOST'] ?? '127.0.0.1', () => {
  const { address, port } = server.address() as AddressInfo;
  console.log(`sample campaign service: http://${address}:${port}`);
});
