import { readFileSync } from 'node:fs';
import { chmod, chown, lstat, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { updateFile } from '../../src/keys/atomic-file.ts';

let folder: string;
let file: string;

beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'gateway-test-file-'));
  file = path.join(folder, 'data', 'file.json');
});
afterEach(() => rm(folder, { recursive: true }));

const read = () => readFile(file, 'utf8');

test('the file and its folder are readable by their owner only, and no other file is left', async () => {
  await updateFile(file, () => 'text');
  expect((await stat(file)).mode & 0o777).toBe(0o600);
  expect((await stat(path.dirname(file))).mode & 0o777).toBe(0o700);
  expect(await readdir(path.dirname(file))).toEqual(['file.json']);
});

test('concurrent updates lose none', async () => {
  await updateFile(file, () => '');
  await Promise.all(Array.from('abcdefghij', (letter) => updateFile(file, () => readFileSync(file, 'utf8') + letter)));
  const letters = Array.from(await read());
  expect(letters.sort().join('')).toBe('abcdefghij');
});

test('an update that returns nothing, or throws, leaves the file and releases the lock', async () => {
  await updateFile(file, () => 'first');
  await updateFile(file, () => undefined);
  const failing = updateFile(file, () => {
    throw new Error('failed');
  });
  await expect(failing).rejects.toThrow('failed');
  expect(await read()).toBe('first');
  await updateFile(file, () => 'second');
  expect(await read()).toBe('second');
});

test('an update that cannot get the lock within five seconds names the lock file and changes nothing', async () => {
  await updateFile(file, () => 'first');
  await writeFile(`${file}.lock`, 'of another process');
  await expect(updateFile(file, () => 'second')).rejects.toThrow(`${file}.lock exists`);
  expect([await read(), await readFile(`${file}.lock`, 'utf8')]).toEqual(['first', 'of another process']);
});

test('a symbolic link to the file stays a link', async () => {
  const link = path.join(folder, 'link.json');
  await symlink('data/file.json', link);
  for (const text of ['creates the file', 'replaces it']) {
    await updateFile(link, () => text);
    expect([await read(), (await lstat(link)).isSymbolicLink()]).toEqual([text, true]);
  }
});

test('an update preserves owner and permissions if asked to, so that the gateway can still read what root has written', async () => {
  await updateFile(file, () => 'first');
  await chmod(file, 0o640);
  const owner = process.getuid?.() === 0 ? 65_534 : process.getuid?.();
  if (owner !== undefined) await chown(file, owner, (await stat(file)).gid);
  await updateFile(file, () => 'second', { preserveAccess: true });
  const { mode, uid } = await stat(file);
  expect([mode & 0o777, uid]).toEqual([0o640, owner ?? uid]);
  await updateFile(file, () => 'third');
  expect((await stat(file)).mode & 0o777).toBe(0o600);
});
