import express, { type RequestHandler } from 'express';
import type { z } from 'zod';

const MAX_ITEMS = 1000;
const MAX_BODY = '256kb';

/** `POST /cache/invalidations`: one item or an array. Applies all items or, if one is invalid, none. */
export function postInvalidations<Item>(
  schema: z.ZodType<Item>,
  invalidate: (items: readonly Item[]) => Promise<void>,
): readonly RequestHandler[] {
  return [
    express.json({ type: () => true, limit: MAX_BODY, strict: false }),
    async function applyInvalidations({ body }, response) {
      const items: readonly unknown[] = Array.isArray(body) ? body : [body];
      if (items.length > MAX_ITEMS) {
        response.status(422).json({ error: `Send at most ${MAX_ITEMS} items.` });
        return;
      }
      const results = items.map((item) => schema.safeParse(item));
      const invalid = results.flatMap(({ error }, index) => (error ? [{ index, problems: listProblems(error) }] : []));
      if (invalid.length > 0) {
        response.status(422).json({ error: 'Some items are invalid. None was applied.', items: invalid });
        return;
      }
      await invalidate(results.flatMap(({ success, data }) => (success ? [data as Item] : [])));
      response.status(202).json({ accepted: items.length });
    },
  ];
}

function listProblems({ issues }: z.ZodError): string[] {
  return issues.map(({ path, message }) => [path.join('.'), message].filter((text) => text !== '').join(' '));
}
