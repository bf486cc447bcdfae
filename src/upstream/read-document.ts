import type { Logger } from 'pino';
import type { Fetched, Source } from '../cache/source.ts';
import type { Endpoint } from '../endpoints/endpoint.ts';
import type { Exchange } from '../exchange.ts';
import { compilePathTemplate } from '../paths.ts';
import { decodeReply } from './decode.ts';
import { reasonOf, UpstreamFailure } from './failure.ts';
import { interpretReply, isFiltered } from './interpret.ts';
import type { Upstream } from './upstream.ts';

export interface ReadOptions {
  readonly upstream: Upstream;
  readonly headers: (exchange: Exchange) => Record<string, string>;
  /** Of a body, also when it has been decoded. */
  readonly maxBodyBytes: number;
  readonly log: Logger;
  /** Counts a read by what came of it. One for all endpoints: see `countBy`. */
  readonly count: (outcome: string) => void;
}

/** What an exchange asks for, at the campaign service: filtered, and checked to be what was asked for. */
export function documentSource(
  endpoint: Endpoint,
  { upstream, headers, maxBodyBytes, log, count }: ReadOptions,
): (exchange: Exchange) => Source {
  const pathOf = compilePathTemplate(endpoint.upstreamPath);

  async function read(exchange: Exchange, signal: AbortSignal, deadlineAt: number): Promise<Fetched> {
    const { parameters, trace } = exchange;
    const reply = await upstream.read({ path: pathOf(parameters), headers: headers(exchange), signal, deadlineAt });
    const meaning = interpretReply(endpoint, parameters, await decodeReply(reply, maxBodyBytes));
    if (meaning.outcome !== 'foreign_account_group') return { result: meaning, headers: reply.headers };
    log.warn(
      { security: true, trace_id: trace.traceId, ...parameters },
      'the campaign service answered with a document of another account group',
    );
    return { result: { outcome: 'not_found' }, headers: reply.headers };
  }

  async function ask(exchange: Exchange, signal: AbortSignal, deadlineAt: number): Promise<Fetched> {
    try {
      const fetched = await read(exchange, signal, deadlineAt);
      count(fetched.result.outcome);
      return fetched;
    } catch (error) {
      if (error instanceof UpstreamFailure) count(reasonOf(error));
      throw error;
    }
  }

  return (exchange) => ({
    ask: (signal, deadlineAt) => ask(exchange, signal, deadlineAt),
    isOwn: (text) => isFiltered(endpoint, exchange.parameters, text),
  });
}
