import type { CodeSample, JsonSchema } from './code-samples.ts';

type Texts<Name extends string> = Readonly<Record<Name, string>>;

/** The part of the OpenAPI document that the reference page renders. */
export interface Reference {
  readonly info: Texts<'title' | 'version' | 'summary' | 'description'>;
  readonly paths: Readonly<Record<string, { readonly get: Operation }>>;
  readonly components: {
    readonly schemas: Readonly<Record<string, JsonSchema>>;
    readonly headers: Readonly<Record<string, { readonly description: string; readonly example: unknown }>>;
  };
}

export interface Operation extends Texts<'operationId'> {
  readonly 'x-codeSamples': readonly CodeSample[];
  readonly parameters: readonly Parameter[];
  readonly responses: Readonly<Record<string, DocumentedResponse>>;
}

export interface Parameter extends Texts<'name' | 'in' | 'description'> {
  readonly required: boolean;
  readonly schema: JsonSchema;
  readonly example?: string;
}

export interface DocumentedResponse extends Texts<'description'> {
  readonly headers: Readonly<Record<string, unknown>>;
  readonly content?: { readonly 'application/json': { readonly schema: JsonSchema; readonly example: Envelope } };
}

interface Envelope {
  readonly error: Texts<'code' | 'message' | 'details'> | null;
}
