import { type FileHandle, mkdir, open, realpath, rename, rm } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';

const LOCK_ATTEMPTS = 250;
const LOCK_POLL_MS = 20;

/**
 * Replaces a file with the text that `update` returns, or leaves it if that is undefined. As in git, the lock is the new
 * file: `FILE.lock` is created exclusively, written, synced, and renamed to `FILE`. No other process updates the file in
 * between, and readers see the old or the new text, never a part. Rejects if the lock is not free within five seconds.
 */
export async function updateFile(file: string, update: () => string | undefined): Promise<void> {
  await mkdir(path.dirname(file), { recursive: true, mode: 0o700 });
  const target = await realpath(file).catch(() => file); // A symbolic link stays a link.
  const lockPath = `${target}.lock`;
  const lock = await acquireLock(lockPath);
  try {
    const text = update();
    if (text === undefined) return await rm(lockPath);
    await lock.writeFile(text);
    await lock.sync();
    await rename(lockPath, target);
  } catch (error) {
    await rm(lockPath, { force: true });
    throw error;
  } finally {
    await lock.close();
  }
}

async function acquireLock(lockPath: string): Promise<FileHandle> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await open(lockPath, 'wx', 0o600);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    }
    if (attempt === LOCK_ATTEMPTS) throw new Error(`${lockPath} exists: remove it unless another process is writing`);
    await pause(LOCK_POLL_MS);
  }
}
