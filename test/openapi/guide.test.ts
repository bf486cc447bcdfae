import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect, onTestFinished, test } from 'vitest';
import { FileKeyStore } from '../../src/keys/file-key-store.ts';
import { EmbeddedGateway } from '../helpers/embedded-gateway.ts';
import { makeKey } from '../helpers/keys.ts';

interface Client {
  getResource(url: string, key: string): Promise<unknown>;
  readonly cache: Map<string, unknown>;
  /** Ends the current request as its timeout would. */
  timeOut(): void;
  readonly statuses: readonly number[];
  readonly delaysMs: readonly number[];
}

const guide = readFileSync(new URL('../../src/openapi/guide.md', import.meta.url), 'utf8');
const code = /```js\n([\s\S]*?)```/.exec(guide)?.[1] ?? '';

/** The client of the guide. Its timeouts occur when the test wants them, and it waits only for Retry-After. */
function createClient(source = code): Client {
  const [statuses, delaysMs]: [number[], number[]] = [[], []];
  let controller = new AbortController();
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
    AbortSignal: {
      timeout: () => {
        controller = new AbortController();
        return controller.signal;
      },
    },
  };
  const create = new Function(...Object.keys(globals), `${source}; return { getResource, cache };`);
  const timeOut = () => controller.abort(new DOMException('The operation timed out.', 'TimeoutError'));
  return { ...create(...Object.values(globals)), timeOut, statuses, delaysMs };
}

/** A server whose n-th response is given by the n-th listener. */
async function startServer(...listeners: RequestListener[]): Promise<string> {
  const server = createServer((request, response) => listeners.shift()?.(request, response));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => server.close().closeAllConnections());
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
}

const respond = (status: number, body: string, headers = {}): RequestListener => {
  return (_request, response) => response.writeHead(status, headers).end(body);
};
const success = respond(200, JSON.stringify({ success: true, data: 'data', error: null, traceId: '' }), {
  ETag: '"a"',
});

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

test('the client of the guide retries network errors, timeouts and errors of proxies after short random delays', async () => {
  const client = createClient();
  const url = await startServer(
    (request) => request.destroy(),
    () => client.timeOut(), // No response at all.
    respond(502, '<html>Bad Gateway</html>'),
    (_request, response) => response.writeHead(200).write('{"success":', () => client.timeOut()),
    success,
  );
  expect(await client.getResource(url, 'key')).toBe('data');
  expect(client.delaysMs).toHaveLength(4);
  expect(client.delaysMs.filter((delayMs, i) => delayMs >= 200 * 2 ** i)).toEqual([]);
});

test('the client of the guide gives up after five attempts, and at once if a retry cannot succeed', async () => {
  const [busy, missing] = [createClient(), createClient()];
  const url = await startServer(...Array(5).fill(respond(503, 'busy')), respond(404, 'null'));
  await expect(busy.getResource(url, 'key')).rejects.toThrow('HTTP 503, not JSON');
  expect(busy.statuses).toHaveLength(5);
  await expect(missing.getResource(url, 'key')).rejects.toThrow('HTTP 404');
  expect(missing.delaysMs).toEqual([]);
});

test('the client of the guide remembers a bounded number of resources, those that were read last', async () => {
  const url = await startServer(success, success, success, success);
  const client = createClient(code.replace('MAX_CACHED = 1000', 'MAX_CACHED = 2'));
  for (const name of ['a', 'b', 'a', 'c']) await client.getResource(url + name, 'key');
  expect([...client.cache.keys()]).toEqual([`${url}a`, `${url}c`]);
});
