import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { publicFields } from './campaign.ts';

/** The baseline: node:http writes a response of the same length and does nothing else. */
const data = { id: 'cmp_0', ...publicFields };
const body = Buffer.from(JSON.stringify({ success: true, data, error: null, traceId: '0123456789abcdef'.repeat(2) }));

const server = createServer((_request, response) => {
  response.writeHead(200, { 'content-type': 'application/json', 'content-length': body.length });
  response.end(body);
});
server.listen(0, '127.0.0.1', () => process.stdout.write(`${(server.address() as AddressInfo).port}\n`));
