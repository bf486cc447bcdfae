/** What the gateway sends, in the syntax of RFC 9651. A burst is stated only if it differs from the quota. */
const LIMIT = /^"([\w-]+)";r=(\d+);t=([1-9]\d*)$/;
const POLICY = /^"([\w-]+)";q=([1-9]\d*);w=([1-9]\d*)(?:;cgw-burst=(?!\2$)([1-9]\d*))?$/;
const CACHE_STATUS = /^campaign-gateway; (?:hit|fwd=[a-z-]+)(?:; (?:stored|collapsed|ttl=-?\d+|detail=[a-z_-]+))*$/;

/** The one limit that a `RateLimit` header states. Throws if it is malformed. */
export function parseRateLimitField(text: string) {
  const [name = '', r, t] = match(LIMIT, text);
  return { name, r: Number(r), t: Number(t) };
}

/** The limits of a `RateLimit-Policy` header. Throws if it is malformed. */
export function parsePolicyField(text: string) {
  return text.split(', ').map((item) => {
    const [name = '', q, w, burst = q] = match(POLICY, item);
    return { name, q: Number(q), w: Number(w), burst: Number(burst) };
  });
}

function match(pattern: RegExp, text: string): string[] {
  const found = pattern.exec(text);
  if (!found) throw new Error(`malformed structured field: ${text}`);
  return found.slice(1);
}

/** Throws when a structured field of a response is malformed, or when its limits contradict each other. */
export function checkStructuredFields(status: number, header: (name: string) => string | null): void {
  const [limit, policy, cacheStatus] = ['RateLimit', 'RateLimit-Policy', 'Cache-Status'].map(header);
  if (typeof cacheStatus === 'string') match(CACHE_STATUS, cacheStatus);
  if (typeof limit !== typeof policy) throw new Error('RateLimit and RateLimit-Policy appear together');
  if (typeof limit !== 'string' || typeof policy !== 'string') return;
  const { name, r, t } = parseRateLimitField(limit);
  const stated = parsePolicyField(policy).find((each) => each.name === name);
  const isPossible = stated && r <= stated.burst && r * stated.w <= stated.q * t;
  const retryAfter = header('Retry-After');
  const isRejection = r === 0 && retryAfter === String(t);
  if (!isPossible || (status === 429 && !isRejection)) {
    throw new Error(`a ${status} has RateLimit: ${limit}, RateLimit-Policy: ${policy}, Retry-After: ${retryAfter}`);
  }
}
