import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect, onTestFinished, test } from 'vitest';
import { FileKeyStore } from '../../src/keys/file-key-store.ts';
import { EmbeddedGateway } from '../helpers/embedded-gateway.ts';
import { makeKey } from '../helpers/keys.ts';

const guide = readFileSync(new URL('../../src/openapi/guide.md', import.meta.url), 'utf8');
const code = /```js\n([\s\S]*?)```/.exec(guide)?.[1] ?? '';

/** The client of the guide, with what it received and how long it wanted to wait. It waits only for Retry-After. */
function createClient() {
  const [statuses, delaysMs]: [number[], number[]] = [[], []];
  const globals = {
    fetch: async (...request: Parameters<typeof fetch>) => {
      const response = await fetch(...request);
      statuses.push(response.status);
      return response;
    },
    setTimeout: (callback: () => void, delayMs: number) => {
      delaysMs.push(delayMs);
      return setTimeout(callback, statuses.at(-1) === 429 ? delayMs : 0);
    },
  };
  const create = new Function(...Object.keys(globals), `${code}; return { getResource };`);
  return { ...create(...Object.values(globals)), statuses, delaysMs };
}

/** A server whose n-th response is given by the n-th listener. */
async function startServer(...listeners: RequestListener[]): Promise<string> {
  const server = createServer((request, response) => listeners.shift()?.(request, response));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => server.close().closeAllConnections());
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
}

const respond =
  (status: number, body: string): RequestListener =>
  (_request, response) =>
    response.writeHead(status).end(body);

test('the client of the guide waits for Retry-After, revalidates with the ETag and reports the trace ID of a failure', async () => {
  const embedded = await EmbeddedGateway.start();
  onTestFinished(() => embedded.stop());
  const limited = makeKey({ rateLimits: ['1/2s'] });
  await new FileKeyStore(embedded.keysFile).create(limited.record);
  const url = `${embedded.gateway.url}/v1/accounts/ag_1/campaigns/cmp_1`;
  const client = createClient();
  const first = await client.getResource(url, limited.key);
  expect(await client.getResource(url, limited.key)).toBe(first);
  expect(client.statuses).toEqual([200, 429, 304]); // The first request after the delay is admitted.
  expect(client.delaysMs[0]).toBeGreaterThanOrEqual(1000);
  await expect(client.getResource(`${url}.`, embedded.credentials['x-api-key'] ?? '')).rejects.toThrow(
    /^VALIDATION_ERROR: campaignId .* \(trace ID [0-9a-f]{32}\)$/,
  );
});

test('the client of the guide retries network errors and errors of proxies after short random delays', async () => {
  const client = createClient();
  const url = await startServer(
    (request) => request.destroy(),
    (_request, response) => response.writeHead(200).write('{"success":', () => response.destroy()),
    respond(408, ''),
    respond(502, '<html>Bad Gateway</html>'),
    respond(200, JSON.stringify({ success: true, data: 'data', error: null, traceId: '' })),
  );
  expect(await client.getResource(url, 'key')).toBe('data');
  expect(client.delaysMs).toHaveLength(4);
  expect(client.delaysMs.filter((delayMs: number, i: number) => delayMs >= 200 * 2 ** i)).toEqual([]);
});

test('the client of the guide gives up after five attempts, and at once if a retry cannot succeed', async () => {
  const { getResource, statuses } = createClient();
  const url = await startServer(...Array(5).fill(respond(503, 'busy')), respond(404, 'null'));
  await expect(getResource(url, 'key')).rejects.toThrow('HTTP 503, not JSON');
  await expect(getResource(url, 'key')).rejects.toThrow('HTTP 404');
  expect(statuses).toEqual([503, 503, 503, 503, 503, 404]);
});
