import { afterAll, beforeAll, expect, test } from 'vitest';
import { version } from '../../src/version.ts';
import type { RunningGateway } from '../helpers/gateway.ts';
import { exchangeBytes, get } from '../helpers/http.ts';
import { campaignPath, Stack } from '../helpers/stack.ts';

let stack: Stack;
let gateway: RunningGateway;
let key: string;

beforeAll(async () => {
  stack = await Stack.start();
  gateway = await stack.gateway({ CAMPAIGN_SERVICE_TOKEN: 'service-token' });
  key = await stack.key();
});
afterAll(() => stack.stop());

const lastRequest = () => stack.upstream.requests.at(-1);

test('only the headers of the contract reach the campaign service, whatever the client sends', async () => {
  const sent = [
    `X-API-Key: ${key}`,
    `Authorization: Bearer ${key}`,
    'Cookie: session=client',
    'X-Account-Group-Id: ag_2',
    'X-API-Key-Id: admin',
    'X-Forwarded-For: 203.0.113.1',
    'X-Forwarded-Host: evil.example',
    'Forwarded: for=203.0.113.1',
    'Via: 1.0 evil',
    'User-Agent: client/1.0',
    'Accept: text/html',
    'Accept-Encoding: gzip, br',
    'Range: bytes=0-10',
    'If-None-Match: "x"',
    'If-Modified-Since: Thu, 01 Jan 2026 00:00:00 GMT',
    'Content-Type: application/json',
    'Content-Length: 2',
    'Expect: 100-continue',
    'TE: trailers',
    'Upgrade: h2c',
    'Baggage: user=client',
    'X-HTTP-Method-Override: DELETE',
    'X-Original-URL: /admin',
    'Proxy-Authorization: Basic client',
  ];
  await exchangeBytes(
    gateway.url,
    `GET ${campaignPath}?x=1 HTTP/1.1\r\nHost: client.example\r\nConnection: close, x-account-group-id\r\n${sent.join('\r\n')}\r\n\r\n{}`,
  );
  const request = lastRequest();
  expect(request?.method).toBe('GET');
  expect(request?.url).toBe('/internal/v1/accounts/ag_1/campaigns/cmp_1');
  expect(request?.headers).toEqual({
    accept: 'application/json',
    'accept-encoding': 'identity',
    authorization: 'Bearer service-token',
    connection: 'keep-alive',
    host: new URL(stack.upstream.url).host,
    traceparent: expect.stringMatching(/^00-[0-9a-f]{32}-[0-9a-f]{16}-02$/),
    'user-agent': `campaign-gateway/${version}`,
    via: '1.1 campaign-gateway',
    'x-account-group-id': 'ag_1',
    'x-api-key-id': key.split('_')[1],
    'x-forwarded-for': '127.0.0.1',
  });
});

test('without a token no authorization goes out; HEAD is asked for as GET', async () => {
  const plain = await stack.gateway();
  await get(plain.url + campaignPath, { authorization: `Bearer ${key}` }, 'HEAD');
  expect(lastRequest()?.method).toBe('GET');
  expect(lastRequest()?.headers.authorization).toBeUndefined();
});

test('base and path of the campaign service are those of the settings', async () => {
  const based = await stack.gateway({
    CAMPAIGN_SERVICE_URL: `${stack.upstream.url}/base/`,
    CAMPAIGN_SERVICE_PATH: '/c/{campaignId}/of/{accountGroupId}',
  });
  await get(based.url + campaignPath, { 'x-api-key': key });
  expect(lastRequest()?.url).toBe('/base/c/cmp_1/of/ag_1');
});

test('connections to the campaign service are used again', async () => {
  const reusing = await stack.gateway();
  const ports = new Set<number | undefined>();
  for (let i = 0; i < 5; i++) {
    await get(reusing.url + campaignPath, { 'x-api-key': key });
    ports.add(lastRequest()?.socket.remotePort);
  }
  expect(ports.size).toBe(1);
});
