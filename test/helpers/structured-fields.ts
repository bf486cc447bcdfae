import { type BareItem, type Item, type Parameters, parseList, Token } from 'structured-headers';

export interface LimitField {
  readonly name: string;
  readonly r: number;
  readonly t: number;
}

export interface PolicyField {
  readonly name: string;
  readonly q: number;
  readonly w: number;
  readonly burst: number;
}

type GetHeader = (name: string) => string | null;

const CACHE_STATUS_PARAMETERS: Readonly<Record<string, (value: BareItem) => boolean>> = {
  hit: (value) => value === true,
  fwd: (value) => value instanceof Token,
  ttl: Number.isInteger,
  stored: (value) => value === true,
  collapsed: (value) => value === true,
  detail: (value) => value instanceof Token,
};

/** The one limit that a `RateLimit` header states. Throws if it is malformed. */
export function parseRateLimitField(text: string): LimitField {
  const [[name, parameters], ...others] = parseItems(text) as [Item, ...Item[]];
  const [r, t] = [getInteger(parameters, 'r'), getInteger(parameters, 't')];
  if (others.length > 0 || parameters.size !== 2 || typeof name !== 'string' || r < 0 || t < 1) throw malformed(text);
  return { name, r, t };
}

/** The limits of a `RateLimit-Policy` header. Throws if it is malformed. */
export function parsePolicyField(text: string): PolicyField[] {
  return parseItems(text).map(([name, parameters]) => {
    const [q, w] = [getInteger(parameters, 'q'), getInteger(parameters, 'w')];
    const burst = parameters.has('cgw-burst') ? getInteger(parameters, 'cgw-burst') : q;
    const isRedundant = parameters.has('cgw-burst') && burst === q;
    if (typeof name !== 'string' || q < 1 || w < 1 || burst < 1 || isRedundant) throw malformed(text);
    return { name, q, w, burst };
  });
}

/** Throws if a `Cache-Status` header (RFC 9211) is malformed. */
function checkCacheStatus(text: string): void {
  const [[cache, parameters], ...others] = parseItems(text) as [Item, ...Item[]];
  const isKnown = [...parameters].every(([name, value]) => CACHE_STATUS_PARAMETERS[name]?.(value));
  const isOutcome = parameters.has('hit') !== parameters.has('fwd');
  if (others.length > 0 || String(cache) !== 'campaign-gateway' || !isKnown || !isOutcome) throw malformed(text);
}

/** Throws when a structured field of a response is malformed, or when its limits contradict each other. */
export function checkStructuredFields(status: number, header: GetHeader): void {
  const [limit, policy, cacheStatus] = ['RateLimit', 'RateLimit-Policy', 'Cache-Status'].map(header);
  if (typeof cacheStatus === 'string') checkCacheStatus(cacheStatus);
  if (typeof limit !== typeof policy) throw new Error('RateLimit and RateLimit-Policy appear together');
  if (typeof limit === 'string' && typeof policy === 'string') {
    const state = parseRateLimitField(limit);
    checkLimit(state, parsePolicyField(policy));
    if (status === 429 && (state.r !== 0 || header('Retry-After') !== String(state.t))) {
      throw new Error(`a 429 has RateLimit: ${limit} and Retry-After: ${header('Retry-After')}`);
    }
  }
}

function checkLimit({ name, r, t }: LimitField, policies: readonly PolicyField[]): void {
  const policy = policies.find((each) => each.name === name);
  if (!policy) throw new Error(`RateLimit names the limit ${name}, which is not in RateLimit-Policy`);
  if (r > policy.burst) throw new Error(`r=${r} is above the burst of ${policy.burst}`);
  if (r * policy.w > policy.q * t) throw new Error(`r=${r}, t=${t} exceeds the rate of ${policy.q} per ${policy.w} s`);
}

function parseItems(text: string): Item[] {
  const items = parseList(text);
  if (items.length === 0 || items.some(([value]) => Array.isArray(value))) throw malformed(text);
  return items as Item[];
}

function getInteger(parameters: Parameters, name: string): number {
  const value = parameters.get(name);
  if (!Number.isInteger(value)) throw new Error(`the parameter ${name} is not an integer: ${value}`);
  return value as number;
}

function malformed(text: string): Error {
  return new Error(`malformed structured field: ${text}`);
}
