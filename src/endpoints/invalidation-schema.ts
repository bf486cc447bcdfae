import { z } from 'zod';
import type { Endpoint } from './endpoint.ts';
import { identifier } from './identifier.ts';

/**
 * Schema of the event that a document has changed. It names the document by the `idParameter` of its endpoint; without one
 * the event concerns the whole account group.
 */
export function createInvalidationSchema(endpoints: readonly Pick<Endpoint, 'idParameter'>[]) {
  return z
    .strictObject({
      accountGroupId: identifier,
      mode: z.enum(['soft', 'hard'], 'must be soft or hard').default('soft'),
      ...Object.fromEntries(endpoints.map(({ idParameter }) => [idParameter, identifier.optional()])),
    })
    .transform(({ accountGroupId, mode, ...ids }) => ({
      accountGroupId,
      mode,
      documentIds: Object.values<string>(ids),
    }))
    .refine(({ documentIds }) => documentIds.length <= 1, 'must name at most one document')
    .transform(({ accountGroupId, mode, documentIds: [documentId] }) => ({ accountGroupId, mode, documentId }));
}
