import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { type ErrorCode, errorDefinitions } from '../../src/http/errors.ts';
import type { RunningGateway } from '../helpers/gateway.ts';
import { exchangeBytes, get, type HttpResponse, parseResponses, rateLimitState } from '../helpers/http.ts';
import type { RedisTopology } from '../helpers/redis.ts';
import { redisTopologies } from '../helpers/redis-topologies.ts';
import { campaignPath, Stack } from '../helpers/stack.ts';
import { campaignDocument, respondWithBody, respondWithCampaign, respondWithJson } from '../helpers/upstream.ts';
import { until } from '../helpers/wait.ts';

describe.each(redisTopologies)('Redis as %s', (_form, startRedis) => {
  let stack: Stack<RedisTopology>;
  let gateway: RunningGateway;
  let key: string;

  beforeAll(async () => {
    stack = await Stack.start(startRedis);
    gateway = await stack.gateway({ AUTH_FAILURE_LIMIT: '1000/60s' });
    key = await stack.key();
  });
  afterAll(() => stack.stop());
  beforeEach(() => {
    stack.upstream.answer = respondWithCampaign;
  });

  const read = (path: string, headers: Record<string, string> = { 'x-api-key': key }, method = 'GET') =>
    get(gateway.url + path, headers, method);

  function expectError(answered: HttpResponse, code: ErrorCode): void {
    expect(answered.status).toBe(errorDefinitions[code].status);
    expect(answered.body).toEqual({
      success: false,
      data: null,
      error: { code, message: errorDefinitions[code].message, details: expect.any(String) },
      traceId: expect.stringMatching(/^[0-9a-f]{32}$/),
    });
    expectCommonHeaders(answered);
    // RFC 9111, section 4.2.2: a 404 without it may be cached.
    expect(answered.headers.get('cache-control')).toBe('no-store');
  }

  function expectCommonHeaders({ headers, body }: HttpResponse): void {
    expect(headers.get('content-type')).toBe('application/json; charset=utf-8');
    expect(headers.get('vary')).toBe('X-API-Key, Authorization');
    expect(headers.get('x-content-type-options')).toBe('nosniff');
    expect(headers.get('x-trace-id')).toBe(body.traceId);
    for (const name of ['x-powered-by', 'server', 'set-cookie']) expect(headers.has(name)).toBe(false);
  }

  test('a 200 has the twelve fields in their order and the headers of the contract', async () => {
    stack.upstream.answer = respondWithBody(JSON.stringify(campaignDocument('cmp_1', 'ag_1')), 200, {
      'set-cookie': 'session=inside',
      server: 'inside/1.0',
      'x-powered-by': 'inside',
      'x-internal': 'inside',
    });
    const answered = await read(campaignPath);
    expect(answered.status).toBe(200);
    expect(Object.keys(answered.body)).toEqual(['success', 'data', 'error', 'traceId']);
    expect(Object.keys(answered.body.data ?? {})).toEqual([
      'id',
      'name',
      'status',
      'description',
      'outreachLanguage',
      'selectedLeadCount',
      'includeConversationHistory',
      'autoCancelOnMessageReceived',
      'createdAt',
      'updatedAt',
      'startedAt',
      'rateLimitedUntil',
    ]);
    expectCommonHeaders(answered);
    expect(answered.headers.get('cache-control')).toBe('private, no-cache');
    expect(answered.headers.get('etag')).toMatch(/^"[\w-]{27}"$/);
    expect(answered.headers.get('ratelimit-policy')).toBe('"default";q=600;w=60');
    expect(answered.headers.get('ratelimit')).toMatch(/^"default";r=5\d\d;t=1$/);
    expect(answered.headers.has('x-internal')).toBe(false);
    expect(answered.text).not.toContain('inside');
  });

  test('optional fields that are absent come as null', async () => {
    const { description, outreachLanguage, startedAt, rateLimitedUntil, ...required } = campaignDocument('cmp_1');
    stack.upstream.answer = respondWithJson(required);
    const { body } = await read(campaignPath);
    expect(body.data).toMatchObject({
      description: null,
      outreachLanguage: null,
      startedAt: null,
      rateLimitedUntil: null,
    });
  });

  test('HEAD answers as GET does, without the body', async () => {
    const [viaGet, viaHead] = [await read(campaignPath), await read(campaignPath, { 'x-api-key': key }, 'HEAD')];
    expect(viaHead.status).toBe(200);
    expect(viaHead.text).toBe('');
    for (const name of ['etag', 'content-type', 'content-length', 'cache-control']) {
      expect(viaHead.headers.get(name)).toBe(viaGet.headers.get(name));
    }
  });

  test('the entity tag is that of the data: the same for the same campaign, another for another, 304 when the client has it', async () => {
    const first = await read(campaignPath);
    const again = await read(campaignPath);
    const etag = first.headers.get('etag') ?? '';
    expect(again.headers.get('etag')).toBe(etag);
    expect(again.body.traceId).not.toBe(first.body.traceId);

    for (const header of [etag, `W/${etag}`, '*', `"other", ${etag}`, `"other",W/${etag} , "more"`]) {
      const { status, text, headers } = await read(campaignPath, { 'x-api-key': key, 'if-none-match': header });
      expect([header, status, text]).toEqual([header, 304, '']);
      expect(headers.get('etag')).toBe(etag);
      expect(headers.get('cache-control')).toBe('private, no-cache');
      expect(headers.get('vary')).toBe('X-API-Key, Authorization');
      expect(headers.get('ratelimit')).toMatch(/^"default";r=\d+;t=1$/);
      expect(headers.get('x-trace-id')).toMatch(/^[0-9a-f]{32}$/);
    }
    for (const header of ['"other"', etag.slice(1, -1), '', 'nonsense', `"a${etag.slice(1)}`]) {
      expect([header, (await read(campaignPath, { 'x-api-key': key, 'if-none-match': header })).status]).toEqual([
        header,
        200,
      ]);
    }
    stack.upstream.answer = respondWithJson({ ...campaignDocument('cmp_1'), status: 'running' });
    const changed = await read(campaignPath, { 'x-api-key': key, 'if-none-match': etag });
    expect(changed.status).toBe(200);
    expect(changed.headers.get('etag')).not.toBe(etag);
  });

  test('400: the details name each malformed parameter and its rule', async () => {
    const answered = await read('/v1/accounts/ag.1/campaigns/cmp%201');
    expectError(answered, 'VALIDATION_ERROR');
    expect(answered.body.error?.details).toBe(
      'accountGroupId must be 1–64 characters of A–Z a–z 0–9 _ -; campaignId must be 1–64 characters of A–Z a–z 0–9 _ -.',
    );
  });

  test('401: missing, malformed, unknown, expired and revoked look the same from outside', async () => {
    const expired = await stack.key({ expiresAt: '2026-01-01T00:00:00.000Z' });
    const revoked = await stack.key({ revokedAt: '2026-01-01T00:00:00.000Z' });
    const unknown = (await stack.key()).replace(/^cgw_.{16}/, 'cgw_0000000000000000');
    const { generateKey } = await import('../../src/keys/api-key.ts');
    const shown = [undefined, '', 'cgw_nonsense', unknown, generateKey().key, expired, revoked];
    const answers = await Promise.all(
      shown.map((it) => read(campaignPath, it === undefined ? {} : { 'x-api-key': it })),
    );
    for (const answered of answers) {
      expectError(answered, 'UNAUTHORIZED');
      expect(answered.headers.get('www-authenticate')).toBe('Bearer realm="campaign-gateway"');
    }
    const outside = answers.map(({ headers, body }) => {
      const visible = [...headers].filter(([name]) => !['x-trace-id', 'date'].includes(name));
      return JSON.stringify([visible, { ...body, traceId: '' }]);
    });
    expect(new Set(outside).size).toBe(1);
  });

  test('403 for a permission or an account group that the key lacks, and the campaign service is not asked', async () => {
    const asked = stack.upstream.requests.length;
    expectError(
      await read(campaignPath, { 'x-api-key': await stack.key({ permissions: ['campaigns:write'] }) }),
      'FORBIDDEN',
    );
    expectError(await read('/v1/accounts/ag_2/campaigns/cmp_1'), 'FORBIDDEN');
    expect(stack.upstream.requests.length).toBe(asked);
  });

  test('a key of all account groups reads any of them', async () => {
    const all = await stack.key({ accountGroupIds: '*' });
    expect((await read('/v1/accounts/ag_99/campaigns/cmp_1', { 'x-api-key': all })).status).toBe(200);
  });

  test.each([404, 410])('a %i of the campaign service is a 404', async (status) => {
    stack.upstream.answer = respondWithJson({ error: 'inside' }, status);
    const answered = await read(campaignPath);
    expectError(answered, 'NOT_FOUND');
    expect(answered.text).not.toContain('inside');
  });

  test.each([
    '/v1',
    '/v1/accounts/ag_1/campaigns',
    `${campaignPath}/`,
    '/v1//accounts/ag_1/campaigns/cmp_1',
    '/v1/accounts//campaigns/cmp_1',
    '/V1/accounts/ag_1/campaigns/cmp_1',
    '/v1/Accounts/ag_1/campaigns/cmp_1',
    '/internal/v1/accounts/ag_1/campaigns/cmp_1',
  ])('404: %s is no route', async (path) => {
    expectError(await read(path), 'NOT_FOUND');
  });

  test.each(['POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'PROPFIND'])('405 for %s, with Allow', async (method) => {
    const answered = await read(campaignPath, { 'x-api-key': key }, method);
    expectError(answered, 'METHOD_NOT_ALLOWED');
    expect(answered.headers.get('allow')).toBe('GET, HEAD');
  });

  test('413 and 414 where a request is too large', async () => {
    const tooLarge = await exchangeBytes(
      gateway.url,
      `GET ${campaignPath} HTTP/1.1\r\nHost: a\r\nContent-Length: 70000\r\n\r\n`,
    );
    expect(parseResponses(tooLarge)).toMatchObject([{ status: 413, headers: { connection: 'close' } }]);
    expectError(await read(`/${'a'.repeat(9000)}`), 'URI_TOO_LONG');
  });

  /** Quota comes back while the test runs: `t` seconds may have become a few less on a slow machine. */
  const about = (seconds: number) =>
    expect.toSatisfy((t: number) => t <= seconds && t > seconds - 30, `about ${seconds}`);

  test('429 when the limit of the key is used up, with a Retry-After that is neither 0 nor before t', async () => {
    const limited = await stack.key({ rateLimits: ['2/3600s'] });
    const answers = [];
    for (let i = 0; i < 3; i++) answers.push(await read(campaignPath, { 'x-api-key': limited }));
    const [first, second, third] = answers as [HttpResponse, HttpResponse, HttpResponse];
    expect(rateLimitState(first)).toEqual({ name: 'default', r: 1, t: about(1800) });
    expect(rateLimitState(second)).toEqual({ name: 'default', r: 0, t: about(1800) });
    expectError(third, 'RATE_LIMITED');
    expect(third.headers.get('ratelimit-policy')).toBe('"default";q=2;w=3600');
    expect(rateLimitState(third)).toEqual({ name: 'default', r: 0, t: about(1800) });
    expect(third.headers.get('retry-after')).toBe(String(rateLimitState(third).t));
  });

  test('a Retry-After tells the truth: a request is refused before it and admitted after it', async () => {
    const limited = await stack.key({ rateLimits: ['1/2s'] });
    expect((await read(campaignPath, { 'x-api-key': limited })).status).toBe(200);
    const refusedAt = performance.now();
    const refused = await read(campaignPath, { 'x-api-key': limited });
    expect(refused.status).toBe(429);
    const retryAfterMs = Number(refused.headers.get('retry-after')) * 1000;
    expect(retryAfterMs).toBe(2000);
    await until(() => performance.now() - refusedAt >= retryAfterMs);
    expect((await read(campaignPath, { 'x-api-key': limited })).status).toBe(200);
  });

  test('every request with a valid key counts once, whatever it is answered', async () => {
    const counted = await stack.key({ rateLimits: ['100/86400s'] });
    const paths = [campaignPath, '/v1/accounts/a.b/campaigns/c', '/v1/accounts/ag_2/campaigns/c'];
    const answers = [];
    for (const path of paths) answers.push(await read(path, { 'x-api-key': counted }));
    stack.upstream.answer = respondWithJson({}, 500);
    answers.push(await read(campaignPath, { 'x-api-key': counted }));
    expect(answers.map(({ status }) => status)).toEqual([200, 400, 403, 502]);
    expect(answers.map((answered) => rateLimitState(answered).r)).toEqual([99, 98, 97, 96]);
  });

  test('a 404 or a 405 needs no key, but one that is shown is checked and counted', async () => {
    const counted = await stack.key({ rateLimits: ['3/86400s'] });
    const ask = (shown: Record<string, string>) => [read('/nowhere', shown), read(campaignPath, shown, 'POST')];
    const statuses = async (shown: Record<string, string>) =>
      (await Promise.all(ask(shown))).map(({ status }) => status);
    expect(await statuses({})).toEqual([404, 405]);
    expect(await statuses({ 'x-api-key': `${counted}x` })).toEqual([401, 401]);
    expect(await statuses({ 'x-api-key': counted })).toEqual([404, 405]);
    expect(rateLimitState(await read(campaignPath, { 'x-api-key': counted })).r).toBe(0);
    expect(await statuses({ 'x-api-key': counted })).toEqual([429, 429]);
  });

  test('several limits of one key: all in the policy, the tightest in the state, all or nothing charged', async () => {
    const limited = await stack.key({ rateLimits: ['2/3600s', '100/86400s'] });
    const answers = [];
    for (let i = 0; i < 4; i++) answers.push(await read(campaignPath, { 'x-api-key': limited }));
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 429, 429]);
    expect(answers[0]?.headers.get('ratelimit-policy')).toBe('"per-3600s";q=2;w=3600, "per-86400s";q=100;w=86400');
    expect(rateLimitState(answers[3] as HttpResponse)).toEqual({ name: 'per-3600s', r: 0, t: about(1800) });
    const name = `campaign-gateway:{${limited.split('_')[1]}}:limit`;
    // In a cluster one of them has it, and the others say so.
    const found = await Promise.all(stack.redis.masters.map(({ client }) => client.get(name).catch(() => null)));
    const buckets = found.find((text) => text !== null) ?? '';
    expect(Math.ceil(Number(buckets.split(' ')[2]) / 86_400_000)).toBe(2);
  });

  test('502 with its reason when the campaign service fails', async () => {
    stack.upstream.answer = respondWithJson({ error: 'NullPointerException at db-7.internal' }, 500);
    const answered = await read(campaignPath);
    expectError(answered, 'UPSTREAM_ERROR');
    expect(answered.body.error?.details).toMatch(/^status: [a-z ]+\.$/);
    expect(answered.text).not.toMatch(/NullPointer|internal/);
  });

  test('a document of another account group is a 404, and a security warning in the log', async () => {
    stack.upstream.answer = respondWithJson(campaignDocument('cmp_1', 'ag_2'));
    const answered = await read(campaignPath);
    expectError(answered, 'NOT_FOUND');
    const warning = gateway.log.find((line) => line['security'] === true && line['trace_id'] === answered.body.traceId);
    expect(warning).toMatchObject({ level: 'warn', accountGroupId: 'ag_1', campaignId: 'cmp_1' });
  });

  test('a query is neither needed, nor read, nor forwarded', async () => {
    const { status } = await read(`${campaignPath}?fields=workflowDefinition&api_key=x#fragment`);
    expect(status).toBe(200);
    expect(stack.upstream.requests.at(-1)?.url).toBe('/internal/v1/accounts/ag_1/campaigns/cmp_1');
  });
});
