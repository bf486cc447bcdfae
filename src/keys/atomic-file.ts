import { type FileHandle, mkdir, open, readlink, realpath, rename, rm, stat } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';

const LOCK_POLL_MS = 20;

/**
 * Replaces a file with the text that `update` returns, or leaves it if that is undefined. As in git, the lock is the new
 * file: `FILE.lock` is created exclusively, written, synced, and renamed to `FILE`. No other process updates the file in
 * between, and readers see the old or the new text, never a part. Rejects if the lock is not free within `lockTimeoutMs`.
 * Only the owner can read the file, unless `preserveAccess` is set and it exists.
 */
export async function updateFile(
  file: string,
  update: () => string | undefined,
  { preserveAccess = false, lockTimeoutMs = 5000 } = {},
): Promise<void> {
  const target = await resolveLinks(file);
  await mkdir(path.dirname(target), { recursive: true, mode: 0o700 });
  const lockPath = `${target}.lock`;
  const lock = await acquireLock(lockPath, lockTimeoutMs);
  try {
    const text = update();
    if (text === undefined) return await rm(lockPath);
    await lock.writeFile(text);
    if (preserveAccess) await copyAccess(target, lock);
    await lock.sync();
    await rename(lockPath, target);
  } catch (error) {
    await rm(lockPath, { force: true });
    throw error;
  } finally {
    await lock.close();
  }
}

/** A symbolic link stays a link, also while the file that it names does not exist. */
async function resolveLinks(file: string): Promise<string> {
  try {
    return await realpath(file);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    const destination = await readlink(file).catch(() => undefined);
    return destination === undefined ? file : resolveLinks(path.resolve(path.dirname(file), destination));
  }
}

/** A file that root updates must stay readable for the user of the gateway. Others cannot give a file away. */
async function copyAccess(file: string, copy: FileHandle): Promise<void> {
  const stats = await stat(file).catch(() => undefined);
  if (!stats) return;
  try {
    await copy.chown(stats.uid, stats.gid);
    await copy.chmod(stats.mode & 0o777);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EPERM') throw error;
  }
}

async function acquireLock(lockPath: string, timeoutMs: number): Promise<FileHandle> {
  for (let waitedMs = 0; ; waitedMs += LOCK_POLL_MS) {
    try {
      return await open(lockPath, 'wx', 0o600);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    }
    if (waitedMs >= timeoutMs) throw new Error(`${lockPath} exists: remove it unless another process is writing`);
    await pause(LOCK_POLL_MS);
  }
}
