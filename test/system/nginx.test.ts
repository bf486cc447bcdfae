import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ENVELOPE_CONTENT_TYPE } from '../../src/http/envelope.ts';
import { errorDefinitions } from '../../src/http/errors.ts';
import { isInstalled } from '../helpers/debian-package.ts';
import type { HttpResponse } from '../helpers/http.ts';
import { Nginx } from '../helpers/nginx.ts';
import { campaignPath, Stack } from '../helpers/stack.ts';
import { until } from '../helpers/wait.ts';

describe.skipIf(!isInstalled('nginx'))('nginx with the files of config/nginx', () => {
  let nginx: Nginx;

  beforeAll(async () => {
    nginx = await Nginx.start([]);
  });
  afterAll(() => nginx.stop());

  test('responds with a 503 envelope when no gateway is available', async () => {
    const response = await fetch(nginx.url + campaignPath);
    const { success, data, error, traceId } = (await response.json()) as HttpResponse['body'];
    const { status, message } = errorDefinitions.OVERLOADED;
    const details = expect.any(String);
    expect([success, data, error]).toEqual([false, null, { code: 'OVERLOADED', message, details }]);
    expect([response.status, Object.fromEntries(response.headers)]).toMatchObject([
      status,
      {
        'content-type': ENVELOPE_CONTENT_TYPE,
        'cache-control': 'no-store',
        'retry-after': '1',
        'x-trace-id': traceId,
        vary: 'X-API-Key, Authorization',
        'x-content-type-options': 'nosniff',
      },
    ]);
    expect(traceId).toMatch(/^[0-9a-f]{32}$/);
  });

  test('passes the client address on, which the gateway logs instead of the one that the client claims', async () => {
    const stack = await Stack.start();
    const gateway = await stack.gatewayProcess({ TRUST_PROXY: '1' });
    await nginx.use([gateway.url]);
    const headers = { 'x-api-key': await stack.key(), 'x-forwarded-for': '203.0.113.9' };
    await until(async () => (await fetch(nginx.url + campaignPath, { headers })).status === 200);
    const line = await until(() => gateway.log.find(({ msg }) => msg === 'request completed'));
    expect(line['client_address']).toBe('127.0.0.1');
    await nginx.use([]);
    await until(async () => (await fetch(nginx.url)).status === 503);
    await stack.stop();
  });
});
