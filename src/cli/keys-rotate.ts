import { z } from 'zod';
import type { ApiKey } from '../keys/api-key.ts';
import { compareRecords } from '../keys/record-changes.ts';
import { defineCommand, once } from './command.ts';
import { CommandError } from './command-error.ts';
import { actorHelp, actorOption, assertNotRevoked, changeKey, createChange, logChange } from './key-changes.ts';
import { durationSchema, formatNewKey, issueKey } from './new-key.ts';
import { findKey, withStores } from './open-stores.ts';

const noOverlap = z.literal('0s').transform(() => 0);
const overlapSchema = z.union([noOverlap, durationSchema], 'must be a duration such as 24h, or 0s');
const DEFAULT_OVERLAP_MS = 24 * 3_600_000;

/** The old key expires after the overlap, or at its own expiry if that is sooner. */
export const rotateKey = defineCommand({
  usage: 'ID [--overlap 24h] [--actor NAME]',
  summary:
    'Create a successor with the same rights, rate-limit buckets and lifetime. The old key expires after the overlap.',
  help: {
    overlap: ['DURATION', 'How long the old key stays valid, such as 24h (the default) or 0s.'],
    actor: actorHelp,
  },
  example: '48yg9dyreorj43c7 --overlap 7d',
  options: { overlap: once(overlapSchema).default(DEFAULT_OVERLAP_MS), actor: actorOption },
  run: ({ operand: id, options: { overlap, actor }, env, stderr }) =>
    withStores(env, async ({ keys }) => {
      const old = await findKey(keys, id);
      assertRotatable(old);
      const creation = createChange('created', actor, id);
      const successor = issueKey(old, getLifetimeMs(old), creation);
      const rotation = createChange('rotated', actor, successor.record.id);
      await keys.create(successor.record);
      const { record: rotated, changed } = await changeKey(keys, id, rotation, (record) => {
        assertRotatable(record);
        const endsAt = Math.min(
          Date.now() + overlap,
          record.expiresAt === null ? Infinity : Date.parse(record.expiresAt),
        );
        return { expiresAt: new Date(endsAt).toISOString() };
      }).catch(async (error) => {
        await keys.remove(successor.record.id); // The operator never sees this key.
        throw error;
      });
      logChange(stderr, successor.record.id, creation, compareRecords(undefined, successor.record));
      logChange(stderr, id, rotation, changed);
      return formatNewKey(`Created key ${successor.record.id}.\nKey ${id} expires at ${rotated.expiresAt}.`, successor);
    }),
});

/** Rotation shortens the lifetime of a key, so a successor can only take it over from a key that was not rotated. */
function assertRotatable(record: ApiKey): void {
  assertNotRevoked(record);
  const { id, suspendedAt, changes } = record;
  // The successor would be active.
  if (suspendedAt !== null) throw new CommandError('usage', `Key ${id} is suspended. Resume it before its rotation.`);
  const rotation = changes.findLast(({ action }) => action === 'rotated');
  if (rotation)
    throw new CommandError('usage', `Key ${id} was rotated before. Rotate its successor ${rotation.otherKey}.`);
}

/** From the creation, or from the update that set the expiry. */
function getLifetimeMs({ createdAt, expiresAt, changes }: ApiKey): number | undefined {
  const update = changes.findLast(({ action, fields }) => action === 'updated' && fields?.includes('expiresAt'));
  return expiresAt === null ? undefined : Date.parse(expiresAt) - Date.parse(update?.at ?? createdAt);
}
