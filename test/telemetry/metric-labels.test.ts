import { afterAll, beforeAll, expect, test } from 'vitest';
import { exchangeBytes, get } from '../helpers/http.ts';
import { makeKey } from '../helpers/keys.ts';
import { listSeries, readValue, type Scrape, scrapeUntil, sumSeries } from '../helpers/prometheus.ts';
import { campaignPath, Stack } from '../helpers/stack.ts';

let stack: Stack;
beforeAll(async () => {
  stack = await Stack.start();
});
afterAll(() => stack.stop());

const total = (scrape: Scrape) => sumSeries(scrape, 'campaign_gateway_requests_total');

test('clients control no label value and can create no series', async () => {
  const gateway = await stack.gatewayProcess({ AUTH_FAILURE_LIMIT: '1000/1s' });
  const group = 'ag_1';
  const key = await stack.key({ rateLimits: ['100000/1s'] });
  const methods = ['GET', 'DELETE', 'PROPFIND', 'MKCOL', 'M-SEARCH', 'NONSENSE'];
  const clientValues: string[] = [key.split('_')[1] ?? '', group, 'MKCOL', 'PROPFIND', 'M-SEARCH', '127.0.0.2'];
  const sendAll = async (run: string) => {
    const sendOne = async (i: number) => {
      const id = `${run}choice${i}`;
      const other = makeKey().key;
      clientValues.push(id, other.split('_')[1] ?? '');
      const headers = { 'x-api-key': key, 'x-forwarded-for': '127.0.0.2' };
      await get(`${gateway.url}/v1/accounts/${group}/campaigns/${id}`, headers);
      await get(`${gateway.url}/v1/accounts/${id}/campaigns/c`, headers);
      await get(`${gateway.url}/${id}`, headers);
      await get(gateway.url + campaignPath, { 'x-api-key': other });
      const method = methods[i % methods.length];
      await exchangeBytes(gateway.url, `${method} /${id} HTTP/1.1\r\nHost: ${id}\r\nConnection: close\r\n\r\n`);
    };
    for (let i = 0; i < 200; i += 10) await Promise.all(Array.from({ length: 10 }, (_, j) => sendOne(i + j)));
  };
  await sendAll('first');
  const before = await scrapeUntil(gateway, (scraped) => total(scraped) === 1000);
  await sendAll('second');
  const after = await scrapeUntil(gateway, (scraped) => total(scraped) === 2000);
  // Periodic Redis calls of the gateway may add series.
  const requestSeries = (scrape: Scrape) => listSeries(scrape).filter((series) => !series.startsWith('db_'));
  expect(requestSeries(after).sort()).toEqual(requestSeries(before).sort());
  const values = listSeries(after).join('\n');
  for (const text of clientValues) expect(values).not.toContain(text);
  const otherMethods = { http_request_method: '_OTHER', http_response_status_code: '404' };
  expect(readValue(after, 'http_server_request_duration_seconds', otherMethods)).toBeGreaterThan(100);
});
