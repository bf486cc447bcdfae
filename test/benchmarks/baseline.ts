import { createServer } from 'node:http';
import { campaignDocument } from '../helpers/upstream.ts';

const { workflowDefinition: _, ...data } = campaignDocument('cmp_1');
const body = Buffer.from(JSON.stringify({ success: true, data, error: null, traceId: '0123456789abcdef'.repeat(2) }));

createServer((_request, response) => {
  response.writeHead(200, { 'content-type': 'application/json', 'content-length': body.length });
  response.end(body);
}).listen(Number(process.env['PORT']), '127.0.0.1');
