import { readFile } from 'node:fs/promises';
import { z } from 'zod';
import { type ApiKey, withChange } from '../keys/api-key.ts';
import type { KeyReplacement, KeyStore } from '../keys/key-store.ts';
import { parseKeysDocument } from '../keys/keys-document.ts';
import { compareRecords } from '../keys/record-changes.ts';
import { defineCommand } from './command.ts';
import { CommandError } from './command-error.ts';
import { actorHelp, actorOption, createChange, logChange } from './key-changes.ts';
import { withStores } from './open-stores.ts';

export const importKeys = defineCommand({
  usage: 'FILE [--replace] [--actor NAME]',
  summary: 'Add the keys of an export, all or none. With --replace, keys that exist are replaced.',
  help: { replace: ['', 'Replace keys that exist. Without it, an id that exists is an error.'], actor: actorHelp },
  example: 'keys.json',
  options: { replace: z.boolean().default(false), actor: actorOption },
  run: async ({ operand: file, options: { replace, actor }, env, stderr }) => {
    const records = await readExport(file);
    return withStores(env, async ({ keys }) => {
      const change = createChange('imported', actor);
      const found = await findExisting(keys, records, replace);
      const replacements: KeyReplacement[] = records.map((record) => ({
        previous: found.get(record.id),
        record: withChange(record, {}, change),
      }));
      if (!(await keys.replaceAll(replacements))) {
        throw new CommandError('store_unavailable', 'A key changed during the import. No key was imported: try again.');
      }
      for (const { previous, record } of replacements) {
        logChange(stderr, record.id, change, compareRecords(previous, record));
      }
      const replaced = replacements.filter(({ previous }) => previous).length;
      const summary = `Imported ${records.length} keys, of which ${replaced} replaced existing ones.\n`;
      return { json: { imported: records.length, replaced }, text: summary };
    });
  },
});

async function readExport(file: string): Promise<ApiKey[]> {
  try {
    const records = parseKeysDocument(await readFile(file, 'utf8'));
    if (new Set(records.map(({ id }) => id)).size < records.length) throw new Error('an id occurs twice');
    return records;
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    throw new CommandError('usage', `${file} cannot be imported: ${code ?? message}.`);
  }
}

async function findExisting(
  keys: KeyStore,
  imported: readonly ApiKey[],
  canReplace: boolean,
): Promise<ReadonlyMap<string, ApiKey>> {
  const { records, corruptIds } = await keys.list();
  const existing = new Map(records.map((record) => [record.id, record]));
  const conflicts = imported.filter(({ id }) => corruptIds.includes(id) || (existing.has(id) && !canReplace));
  const [first] = conflicts;
  if (!first) return existing;
  if (canReplace) {
    throw new CommandError('usage', `The record of key ${first.id} is corrupt. Revoke the key to remove its record.`);
  }
  const which = `${conflicts.length} of the ids exist, such as ${first.id}`;
  throw new CommandError('usage', `${which}. No key was imported. Use --replace to replace existing keys.`);
}
