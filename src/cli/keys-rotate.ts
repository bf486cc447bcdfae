import { z } from 'zod';
import { type ApiKey, type KeyChange, withChange } from '../keys/api-key.ts';
import type { KeyStore } from '../keys/key-store.ts';
import { createAudit } from './audit.ts';
import type { Command } from './command.ts';
import { CommandError } from './command-error.ts';
import { findKey, withKeyStores } from './key-stores.ts';
import { durationSchema, formatNewKeyJson, formatNewKeyTable, issueKey } from './new-key.ts';

const overlapSchema = durationSchema.or(z.literal('0s').transform(() => 0));

/**
 * Creates a successor with the permissions and the original lifetime of a key. The old key expires after the overlap, or
 * at its own expiry if that is sooner.
 */
export const rotateKey: Command = {
  flags: ['overlap', 'actor'],
  takesId: true,
  run: async (input) => {
    const { id, flags, env } = input;
    const overlapMs = parseOverlap(flags.overlap);
    const audit = createAudit(input);
    const creation = audit.createChange('created', id);
    const { successor, rotation, expiresAt } = await withKeyStores(env, async ({ keys }) => {
      const old = await findActiveKey(keys, id);
      const successor = issueKey(pickGrants(old), await findOriginalLifetime(keys, old), creation);
      const rotation = audit.createChange('rotated', successor.record.id);
      await keys.create(successor.record);
      const expiresAt = await expireAfter(keys, old, overlapMs, rotation).catch(async (error) => {
        await keys.remove(successor.record.id); // The operator never sees this key.
        throw error;
      });
      return { successor, rotation, expiresAt };
    });
    audit.log(successor.record.id, creation);
    audit.log(id, rotation);
    if (flags.json) return formatNewKeyJson(successor);
    return formatNewKeyTable(`Created key ${successor.record.id}.\nKey ${id} expires at ${expiresAt}.`, successor);
  },
};

function parseOverlap(overlap = '24h'): number {
  const { success, data } = overlapSchema.safeParse(overlap);
  if (!success) throw new CommandError('usage', '--overlap must be a duration such as 24h, 30m or 0s.');
  return data;
}

function pickGrants({ name, permissions, accountGroupIds, rateLimits }: ApiKey) {
  return { name, permissions, accountGroupIds, rateLimits };
}

async function findActiveKey(keys: KeyStore, id: string): Promise<ApiKey> {
  const record = await findKey(keys, id);
  if (record.revokedAt === null) return record;
  throw new CommandError('usage', `Key ${id} is revoked and cannot be rotated. Create a new key.`);
}

/** Rotation shortens the lifetime of a key, so that of a rotated key is taken from its successor, which has the same. */
async function findOriginalLifetime(keys: KeyStore, record: ApiKey): Promise<number | undefined> {
  const { id, createdAt, expiresAt, changes } = record;
  const successorId = changes.findLast(({ action }) => action === 'rotated')?.otherKey;
  if (!successorId) return expiresAt === null ? undefined : Date.parse(expiresAt) - Date.parse(createdAt);
  const successor = await keys.find(successorId);
  if (successor) return findOriginalLifetime(keys, successor);
  throw new CommandError(
    'usage',
    `Key ${id} was rotated before and its successor ${successorId} is gone, so its original lifetime is unknown. Create a new key.`,
  );
}

/** Retries until no other change interferes. Returns when the key expires. */
async function expireAfter(keys: KeyStore, old: ApiKey, ms: number, rotation: KeyChange): Promise<string> {
  for (let record = old; ; record = await findActiveKey(keys, old.id)) {
    const end = Math.min(Date.now() + ms, record.expiresAt === null ? Infinity : Date.parse(record.expiresAt));
    const expiresAt = new Date(end).toISOString();
    if (await keys.replace(withChange(record, { expiresAt }, rotation), record.version)) return expiresAt;
  }
}
