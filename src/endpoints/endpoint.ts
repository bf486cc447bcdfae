import type { z } from 'zod';

/** A public endpoint. Routing, authorization, validation, the upstream request and the OpenAPI document derive from it. */
export interface Endpoint {
  /** Resource name, singular and in PascalCase. OpenAPI schema names and operation ids derive from it. */
  readonly name: string;
  readonly title: string;
  /** One sentence that states what the endpoint returns. */
  readonly description: string;
  /** Path template, served for GET and HEAD. `{name}` matches one segment, validated by `parameters[name]`. */
  readonly path: `/${string}`;
  /** Permission a key needs, as `resource:action`. */
  readonly permission: string;
  /** One schema per path parameter, with a description and an example for the OpenAPI document. */
  readonly parameters: Readonly<Record<string, z.ZodType<string>>> & {
    readonly accountGroupId: z.ZodType<string>;
  };
  /** The public document: an allow-list of fields, in response order. */
  readonly response: z.ZodObject;
  /** OpenAPI description of the 200 response. */
  readonly responseDescription: string;
  /** A document that `response` accepts. */
  readonly example: Readonly<Record<string, unknown>>;
  /** Path template relative to CAMPAIGN_SERVICE_URL, with the parameters of `path`. */
  readonly upstreamPath: string;
  /** JSON pointer (RFC 6901) to the document in the upstream response body. */
  readonly resultPointer: string;
  /** The path parameter that must equal the document's `id`. */
  readonly idParameter: string;
  /** `details` of a 404: one sentence. */
  readonly notFoundMessage: string;
}
