import type { OutgoingHttpHeaders } from 'node:http';
import type { RunningGateway } from '../helpers/gateway.ts';
import { get, type HttpResponse } from '../helpers/http.ts';
import type { Stack } from '../helpers/stack.ts';
import { type Responder, respondWithCampaign } from '../helpers/upstream.ts';
import { until } from '../helpers/wait.ts';

/** A gateway with a cache, which neither hides failures by retries nor skips Redis on a loaded machine. */
export const cached = {
  CACHE_TTL_MS: '30000',
  CAMPAIGN_SERVICE_RETRIES: '0',
  CAMPAIGN_SERVICE_TIMEOUT_MS: '60000',
  REDIS_TIMEOUT_MS: '5000',
  REDIS_CACHE_TIMEOUT_MS: '5000',
};

export function getCacheStatus({ headers }: HttpResponse): string | undefined {
  return headers.get('cache-status')?.replace('campaign-gateway; ', '');
}

/** Name of the campaign in a response: tests change it at the campaign service to detect old content. */
export function getName({ body }: HttpResponse): unknown {
  return body.data?.['name'];
}

/** Adds headers to a response. */
export function respondWithHeaders(headers: OutgoingHttpHeaders, respond = respondWithCampaign): Responder {
  return (request, response) => {
    for (const [name, value] of Object.entries(headers)) response.setHeader(name, value as string);
    respond(request, response);
  };
}

let campaigns = 0;

/** A campaign in an account group of its test, so that the tests of a file can share gateways and Redis. */
export class Campaign {
  readonly accountGroupId = `ag_${++campaigns}`;
  readonly path = `/v1/accounts/${this.accountGroupId}/campaigns/cmp_1`;
  /** Redis keys. */
  readonly entryKey = `campaign-gateway:{cache:${this.accountGroupId}}:${this.path}`;
  readonly leaseKey = `${this.entryKey}:lease`;
  key = '';
  readonly #stack: Stack;

  private constructor(stack: Stack) {
    this.#stack = stack;
  }

  static async create(stack: Stack): Promise<Campaign> {
    const campaign = new Campaign(stack);
    await campaign.createKey();
    return campaign;
  }

  /** Call again after Redis has lost its data. */
  async createKey(): Promise<void> {
    this.key = await this.#stack.key({ accountGroupIds: [this.accountGroupId], rateLimits: ['1000000/1s'] });
  }

  read(gateway: RunningGateway, headers: Record<string, string> = {}, id = 'cmp_1'): Promise<HttpResponse> {
    return get(gateway.url + this.path.replace('cmp_1', id), { 'x-api-key': this.key, ...headers });
  }

  untilName(gateway: RunningGateway, name: string): Promise<unknown> {
    return until(async () => getName(await this.read(gateway)) === name);
  }

  /** Requests to the campaign service. */
  get requests() {
    return this.#stack.upstream.requests.filter(({ url }) => url?.endsWith(this.path));
  }

  untilRequests(count: number): Promise<unknown> {
    return until(() => this.requests.length === count);
  }

  /** Waits until another gateway waits for the holder of the lease. */
  untilWatched(): Promise<string> {
    return until(() => this.#stack.redis.client.hget(this.leaseKey, 'watched'));
  }

  /** Waits until the entry is in Redis: a reader gets its response before that. */
  untilReleased(): Promise<boolean> {
    return until(async () => (await this.#stack.redis.client.exists(this.leaseKey)) === 0);
  }
}

/**
 * Waits until both gateways share entries, as they do again some time after a Redis outage, and have noticed any loss of data:
 * the entry has the epoch of the log, with the replication id of the running server.
 */
export async function untilShared(stack: Stack, [a, b]: readonly [RunningGateway, RunningGateway]): Promise<void> {
  await until(async () => {
    const campaign = await Campaign.create(stack);
    await campaign.read(a);
    if (!getCacheStatus(await campaign.read(b))?.startsWith('hit')) return false;
    const { client } = stack.redis;
    const history = /master_replid:(\w+)/.exec(await client.info('replication'))?.[1];
    const epoch = await client.hget('campaign-gateway:changes', 'epoch');
    return (await client.get(campaign.entryKey))?.includes(` ${epoch}:${history}|`);
  });
}
