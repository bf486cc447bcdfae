import { stat } from 'node:fs/promises';
import { z } from 'zod';
import { updateFile } from '../keys/atomic-file.ts';
import { formatKeysDocument } from '../keys/keys-document.ts';
import { CorruptRecordError } from '../redis/store-errors.ts';
import { defineCommand, once } from './command.ts';
import { CommandError } from './command-error.ts';
import { byCreation } from './key-view.ts';
import { withStores } from './open-stores.ts';

export const exportKeys = defineCommand({
  usage: '[--out FILE]',
  summary: 'Print every key record with its hash, or write them to a file that only its owner can read.',
  help: { out: ['FILE', 'File to write. Default: standard output.'] },
  example: '--out keys.json',
  options: { out: once(z.string().min(1, 'must be the path of a file')).optional() },
  run: ({ options: { out }, env }) =>
    withStores(env, async ({ keys }) => {
      const { records, corruptIds } = await keys.list();
      if (corruptIds[0]) throw new CorruptRecordError(`the record of key ${corruptIds[0]} is corrupt`);
      const text = formatKeysDocument(records.sort(byCreation));
      if (out === undefined) return { json: JSON.parse(text), text };
      // A rename would replace a device such as /dev/null.
      const stats = await stat(out).catch(() => undefined);
      if (stats && !stats.isFile()) throw new CommandError('usage', `${out} is not a regular file.`);
      await updateFile(out, () => text).catch((error: NodeJS.ErrnoException) => {
        throw new CommandError('usage', `${out} cannot be written (${error.code ?? error.message}).`);
      });
      return { json: { file: out, keys: records.length }, text: `Exported ${records.length} keys to ${out}.\n` };
    }),
});
