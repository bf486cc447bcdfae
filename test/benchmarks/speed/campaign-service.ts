import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { publicFields } from './campaign.ts';

/** A campaign service that has every campaign. BODY_BYTES is the length of a document, most of it a workflow definition. */
const PATH = /\/accounts\/([^/]+)\/campaigns\/([^/]+)$/;
const bodyBytes = Number(process.env['BODY_BYTES'] ?? 6000);

function document(id: string, accountGroupId: string, padding: string): string {
  return JSON.stringify({
    id,
    accountGroupId,
    ...publicFields,
    workflowDefinition: { steps: Array.from({ length: 10 }, () => ({ template: padding })) },
  });
}

const padding = 'x'.repeat(Math.max(0, Math.round((bodyBytes - document('', '', '').length) / 10)));

const server = createServer((request, response) => {
  const [, accountGroupId = '', id = ''] = PATH.exec(request.url ?? '') ?? [];
  const body = document(id, accountGroupId, padding);
  response.writeHead(200, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) });
  response.end(body);
});
server.listen(0, '127.0.0.1', () => process.stdout.write(`${(server.address() as AddressInfo).port}\n`));
