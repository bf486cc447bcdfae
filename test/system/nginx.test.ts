import { afterEach, beforeEach, expect, test } from 'vitest';
import { ENVELOPE_CONTENT_TYPE } from '../../src/http/envelope.ts';
import { errorDefinitions } from '../../src/http/errors.ts';
import { isInstalled } from '../helpers/debian-package.ts';
import type { GatewayProcess } from '../helpers/gateway.ts';
import type { HttpResponse } from '../helpers/http.ts';
import { Nginx } from '../helpers/nginx.ts';
import { campaignPath, Stack } from '../helpers/stack.ts';
import { until } from '../helpers/wait.ts';

const hasNginx = isInstalled('nginx');

let stack: Stack;
let gateway: GatewayProcess;
let nginx: Nginx | undefined;

beforeEach(async () => {
  stack = await Stack.start();
  gateway = await stack.gatewayProcess({ TRUST_PROXY: '1' });
  nginx = hasNginx ? await Nginx.start([gateway.url]) : undefined;
});
afterEach(() => Promise.all([nginx?.stop(), stack.stop()]));

test.skipIf(!hasNginx)(
  'the gateway logs the client address from nginx, not the one that the client claims',
  async () => {
    const headers = { 'x-api-key': await stack.key(), 'x-forwarded-for': '203.0.113.9' };
    expect((await fetch(`${nginx?.url}${campaignPath}`, { headers })).status).toBe(200);
    const line = await until(() => gateway.log.find(({ msg }) => msg === 'request completed'));
    expect(line['client_address']).toBe('127.0.0.1');
  },
);

test.skipIf(!hasNginx)('nginx responds with a 503 envelope when no gateway is available', async () => {
  await gateway.stop();
  const response = await fetch(`${nginx?.url}${campaignPath}`);
  const { success, data, error, traceId } = (await response.json()) as HttpResponse['body'];
  const { message } = errorDefinitions.OVERLOADED;
  const details = expect.any(String);
  expect([success, data, error]).toEqual([false, null, { code: 'OVERLOADED', message, details }]);
  expect([response.status, Object.fromEntries(response.headers)]).toMatchObject([
    errorDefinitions.OVERLOADED.status,
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
