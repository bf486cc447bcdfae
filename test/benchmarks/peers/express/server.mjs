// The gateway that the usual Express packages make: no hashed keys, single-flight, shared cache, log, metrics or traces.
import { randomBytes } from 'node:crypto';
import express from 'express';
import { rateLimit } from 'express-rate-limit';
import { createProxyMiddleware, responseInterceptor } from 'http-proxy-middleware';
import { Redis } from 'ioredis';
import { LRUCache } from 'lru-cache';
import { RedisStore } from 'rate-limit-redis';

const { PORT, REDIS_URL, CAMPAIGN_SERVICE_URL, FIELDS } = process.env;
const fields = FIELDS.split(',');
const redis = new Redis(REDIS_URL, { enableAutoPipelining: true });
const cache = new LRUCache({ max: 10_000 });

const toEnvelope = (data) => ({ success: true, data, error: null, traceId: randomBytes(16).toString('hex') });

const limit = rateLimit({
  windowMs: 60_000,
  limit: 1e9,
  standardHeaders: 'draft-8',
  legacyHeaders: false,
  validate: false,
  keyGenerator: (request) => request.get('x-api-key'),
  store: new RedisStore({ sendCommand: (...args) => redis.call(...args) }),
});

function serveCached(request, response, next) {
  const data = cache.get(request.path);
  if (data) response.json(toEnvelope(data));
  else next();
}

const forward = createProxyMiddleware({
  target: CAMPAIGN_SERVICE_URL,
  selfHandleResponse: true,
  on: {
    proxyRes: responseInterceptor(async (body, _proxyResponse, request) => {
      const document = JSON.parse(body.toString());
      const data = Object.fromEntries(fields.map((field) => [field, document[field] ?? null]));
      cache.set(request.path, data);
      return JSON.stringify(toEnvelope(data));
    }),
  },
});

express()
  .get('/v1/accounts/:accountGroupId/campaigns/:campaignId', limit, serveCached, forward)
  .listen(Number(PORT), '127.0.0.1');
