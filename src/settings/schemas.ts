import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { z } from 'zod';
import { isValidTrustProxy, parseTrustProxy } from '../http/client-address.ts';
import { rateLimitSchema } from '../rate-limit/rate-limiter.ts';
import { parseRedisUrl } from '../redis/url.ts';

/** Schemas of settings. Each parses text; its error message completes the sentence "NAME must be …". */

export function integer(min: number, max: number) {
  const must = `a whole number from ${min} to ${max}`;
  return z
    .string()
    .regex(/^\d{1,16}$/, must)
    .transform(Number)
    .refine((value) => value >= min && value <= max, must);
}

/** Milliseconds, at most a day unless `max` states otherwise. */
export const duration = (min: number, max = 86_400_000) => integer(min, max);
export const port = integer(0, 65_535);
export const oneOf = <const T extends readonly string[]>(...values: T) => z.enum(values, `one of ${values.join(', ')}`);
export const boolean = z.enum(['true', 'false'], 'true or false').transform((value) => value === 'true');
/** OpenTelemetry's specification ignores the case. */
export const otelBoolean = z.string().toLowerCase().pipe(boolean);
export const host = pattern(/^[A-Za-z0-9.:_-]{1,253}$/, 'a host name or an IP address');
export const pemFile = z.string().refine(isPemFile, 'the path of a readable PEM file');
export const printableAscii = pattern(/^[\x21-\x7e]{1,4096}$/, 'printable ASCII characters without spaces');
export const serviceName = pattern(/^[\x20-\x7e]{1,255}$/, '1–255 printable ASCII characters');
export const redisKeyPrefix = pattern(/^[A-Za-z0-9:._-]{1,64}$/, '1–64 characters of A–Z a–z 0–9 : . _ -');
export const jsonPointer = pattern(/^(?:\/(?:[^~/]|~[01])*)*$/, 'a JSON Pointer (RFC 6901) such as /data');

export const rateSchema = z
  .string()
  .refine(
    (text) => rateLimitSchema.safeParse(text).success,
    'a rate such as 600/60s or 600/60s,burst=50 (units s, m, h or d; at most 10 and 7 digits; requests × window below 2^53 ms)',
  );

const rootSamplers = ['always_on', 'always_off', 'traceidratio'] as const;
export const sampler = oneOf(...rootSamplers, ...rootSamplers.map((name) => `parentbased_${name}` as const));

const RATIO = 'a number from 0 to 1';
export const ratio = z
  .string()
  .regex(/^(?:0|1|0?\.\d{1,12}|1\.0{1,12})$/, RATIO)
  .transform(Number);

const WORKERS = 'a whole number from 1 to 256, or auto';
export const workerCount = z
  .string()
  .regex(/^(?:auto|\d{1,3})$/, WORKERS)
  .transform((text) => (text === 'auto' ? availableParallelism() : Number(text)))
  .refine((count) => count >= 1 && count <= 256, WORKERS);

const OTLP_URL = 'http(s)://host[:port][/path]';
export const otlpUrl = z.string().refine((text) => parseServiceUrl(text) !== undefined, OTLP_URL);

const SERVICE_URL = 'http(s)://host[:port][/base]';
export const serviceUrl = z
  .string(SERVICE_URL)
  .transform(parseServiceUrl)
  .pipe(z.instanceof(URL, { error: SERVICE_URL }));

export const campaignPath = z
  .string()
  .refine(isPathTemplate, 'a path that contains {accountGroupId} and {campaignId} once each and no query');

export const redisUrl = z
  .string()
  .refine(
    (text) => parseRedisUrl(text) !== undefined,
    'redis://, redis+sentinel://h1:p1,h2:p2/MASTER or redis+cluster://h1:p1,h2:p2, or with rediss for TLS',
  );

export const trustProxy = z
  .string()
  .transform(parseTrustProxy)
  .refine(isValidTrustProxy, 'true, false, a number of hops, or a comma-separated list of addresses and subnets');

function pattern(pattern: RegExp, must: string) {
  return z.string().regex(pattern, must);
}

function parseServiceUrl(text: string): URL | undefined {
  if (!/^https?:\/\/[^\s?#@\\]+$/i.test(text) || !URL.canParse(text)) return undefined;
  const url = new URL(text);
  if (url.port === '0') return undefined;
  url.pathname = url.pathname.replace(/\/+$/, '');
  return url;
}

function isPathTemplate(text: string): boolean {
  const rest = text.replace('{accountGroupId}', '').replace('{campaignId}', '');
  const hasBoth = rest.length === text.length - '{accountGroupId}{campaignId}'.length;
  return (
    hasBoth && /^\/[\w\-./~%!$&'()*+,;=:@]*$/.test(rest) && !rest.split('/').some((part) => /^\.{1,2}$/.test(part))
  );
}

function isPemFile(file: string): boolean {
  try {
    return readFileSync(file, 'latin1').includes('-----BEGIN ');
  } catch {
    return false;
  }
}
