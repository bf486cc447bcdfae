import type { z } from 'zod';

/** A public endpoint: everything the pipeline, the upstream and the API description know of it. */
export interface Endpoint {
  /** The resource in one word, from which the API description makes its names: `Campaign`. */
  readonly name: string;
  readonly title: string;
  readonly description: string;
  /** Answered for GET and HEAD. `{name}` stands for one segment; each has its schema in `parameters`, with an example. */
  readonly path: `/${string}`;
  readonly permission: string;
  readonly parameters: Readonly<Record<string, z.ZodType<string>>> & {
    readonly accountGroupId: z.ZodType<string>;
  };
  /** The document that leaves: an allow-list, whose order is the order of the answer. */
  readonly response: z.ZodObject;
  /** One that `response` accepts. */
  readonly example: Readonly<Record<string, unknown>>;
  /** Path at the campaign service, after its base; `{name}` as in `path`. */
  readonly upstreamPath: string;
  /** JSON pointer to the document in the body of its answer. */
  readonly resultPointer: string;
  /** The parameter that the document's own `id` must repeat. */
  readonly idParameter: string;
  /** What a 404 says: a sentence. */
  readonly notFoundMessage: string;
}
