import { z } from 'zod';
import { type ApiKey, addMs, type KeyChange, withChange } from '../keys/api-key.ts';
import type { KeyStore } from '../keys/key-store.ts';
import { compareRecords } from '../keys/record-changes.ts';
import { defineCommand, once } from './command.ts';
import { CommandError } from './command-error.ts';
import { actorHelp, actorOption, assertNotRevoked, createChange, logChange } from './key-changes.ts';
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
      const creation = createChange('created', actor, id);
      const { old, rotated, rotation, successor } = await rotate(keys, id, overlap, creation);
      const { record } = successor;
      logChange(stderr, record.id, creation, compareRecords(undefined, record));
      logChange(stderr, id, rotation, compareRecords(old, rotated));
      return formatNewKey(`Created key ${record.id}.\nKey ${id} expires at ${rotated.expiresAt}.`, successor);
    }),
});

/** Writes both records together, and retries until no other change interferes. So the successor has the rights in force. */
async function rotate(keys: KeyStore, id: string, overlapMs: number, creation: KeyChange) {
  for (;;) {
    const old = await findKey(keys, id);
    assertRotatable(old);
    const successor = issueKey(old, getLifetimeMs(old), creation);
    const rotation = { ...creation, action: 'rotated', otherKey: successor.record.id } as const;
    const endsAt = addMs(creation.at, overlapMs);
    const expiresAt = old.expiresAt !== null && old.expiresAt < endsAt ? old.expiresAt : endsAt;
    const rotated = withChange(old, { expiresAt }, rotation);
    const replacements = [
      { previous: undefined, record: successor.record },
      { previous: old, record: rotated },
    ];
    if (await keys.replaceAll(replacements)) return { old, rotated, rotation, successor };
  }
}

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
