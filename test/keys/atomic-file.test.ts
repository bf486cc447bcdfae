import { rmSync, writeFileSync } from 'node:fs';
import { lstat, mkdtemp, readdir, readFile, rm, stat, symlink, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { AtomicFile } from '../../src/keys/atomic-file.ts';

let folder: string;
let file: string;

beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'gateway-test-file-'));
  file = path.join(folder, 'data', 'file.json');
});
afterEach(() => rm(folder, { recursive: true }));

const read = () => readFile(file, 'utf8');

test('the file and its folder are readable by their owner only, and no other file is left', async () => {
  await new AtomicFile(file).update(() => 'text');
  expect((await stat(file)).mode & 0o777).toBe(0o600);
  expect((await stat(path.dirname(file))).mode & 0o777).toBe(0o700);
  expect(await readdir(path.dirname(file))).toEqual(['file.json']);
});

test('concurrent updates lose none', async () => {
  await new AtomicFile(file).update(() => '');
  const append = (letter: string) =>
    new AtomicFile(file).update(() => `${new AtomicFile(file).readIfChanged()?.text}${letter}`);
  await Promise.all(Array.from('abcdefghij', append));
  expect(
    Array.from(await read())
      .sort()
      .join(''),
  ).toBe('abcdefghij');
});

test('an update that returns nothing, or throws, leaves the file and releases the lock', async () => {
  const atomic = new AtomicFile(file);
  await atomic.update(() => 'first');
  await atomic.update(() => undefined);
  const failing = atomic.update(() => {
    throw new Error('failed');
  });
  await expect(failing).rejects.toThrow('failed');
  expect(await read()).toBe('first');
  await atomic.update(() => 'second');
  expect(await read()).toBe('second');
});

test('the lock of a dead process is taken over', async () => {
  const atomic = new AtomicFile(file);
  await atomic.update(() => 'first');
  await writeFile(`${file}.lock`, 'half a te');
  const minuteAgo = Date.now() / 1000 - 60;
  await utimes(`${file}.lock`, minuteAgo, minuteAgo);
  await atomic.update(() => 'second');
  expect(await read()).toBe('second');
});

test('an update is not applied if another process takes over the lock', async () => {
  const atomic = new AtomicFile(file);
  await atomic.update(() => 'first');
  const update = atomic.update(() => {
    rmSync(`${file}.lock`);
    writeFileSync(`${file}.lock`, 'of another process');
    return 'second';
  });
  await expect(update).rejects.toThrow('lost the lock');
  expect(await read()).toBe('first');
  expect(await readFile(`${file}.lock`, 'utf8')).toBe('of another process');
});

test('a symbolic link to the file stays a link', async () => {
  await new AtomicFile(file).update(() => 'first');
  const link = path.join(folder, 'link.json');
  await symlink(file, link);
  await new AtomicFile(link).update(() => 'second');
  expect([await read(), (await lstat(link)).isSymbolicLink()]).toEqual(['second', true]);
});
