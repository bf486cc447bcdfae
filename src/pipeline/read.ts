import type { Logger } from 'pino';
import type { Endpoint } from '../endpoints/endpoint.ts';
import { GatewayError } from '../errors.ts';
import type { Exchange, ReadResult } from '../exchange.ts';
import { compilePathTemplate } from '../paths.ts';
import { UpstreamFailure } from '../upstream/failure.ts';
import { interpretReply } from '../upstream/interpret.ts';
import type { Upstream } from '../upstream/upstream.ts';
import type { Stage } from './pipeline.ts';

export interface ReadOptions {
  readonly upstream: Upstream;
  readonly headers: (exchange: Exchange) => Record<string, string>;
  readonly log: Logger;
}

/** Asks the campaign service and keeps what may be shown of its answer. */
export function read(endpoint: Endpoint, { upstream, headers, log }: ReadOptions): Stage {
  const pathOf = compilePathTemplate(endpoint.upstreamPath);

  async function fetchDocument(exchange: Exchange): Promise<ReadResult> {
    const { parameters, signal, trace } = exchange;
    const reply = await upstream.read({ path: pathOf(parameters), headers: headers(exchange), signal });
    const meaning = interpretReply(endpoint, parameters, reply);
    if (meaning.outcome !== 'foreign_account_group') return meaning;
    log.warn(
      { security: true, trace_id: trace.traceId, ...parameters },
      'the campaign service answered with a document of another account group',
    );
    return { outcome: 'not_found' };
  }

  return async function read(exchange) {
    const startedAt = performance.now();
    try {
      exchange.result = await fetchDocument(exchange);
    } catch (error) {
      if (!(error instanceof UpstreamFailure)) throw error;
      throw new GatewayError('UPSTREAM_ERROR', error.details, { reason: error.reason, cause: error });
    } finally {
      exchange.upstreamMs = performance.now() - startedAt;
    }
    if (exchange.result.outcome === 'not_found')
      throw new GatewayError('NOT_FOUND', endpoint.notFound, { reason: 'document' });
  };
}
