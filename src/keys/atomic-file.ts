import { readFileSync, statSync } from 'node:fs';
import { type FileHandle, mkdir, open, realpath, rename, rm, stat } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';

/** A lock file older than this belongs to a dead process. */
const LOCK_LEASE_MS = 10_000;
const LOCK_TIMEOUT_MS = 5_000;
const LOCK_POLL_MS = 20;

/**
 * A file, readable by its owner only, that several processes read and replace. As in git, the lock is the new file:
 * `FILE.lock` is created exclusively, written, synced, and renamed to `FILE`. Readers see the old or the new text, never
 * a part, even after a power failure.
 */
export class AtomicFile {
  readonly #path: string;
  #fingerprint = '';

  constructor(file: string) {
    this.#path = file;
  }

  /**
   * Returns undefined if the file is unchanged since the last call, which costs one `stat`. A missing file has the text
   * undefined. Throws if the file cannot be read.
   */
  readIfChanged(): { readonly text: string | undefined } | undefined {
    const stats = statSync(this.#path, { bigint: true, throwIfNoEntry: false });
    const fingerprint = stats ? `${stats.ino} ${stats.mtimeNs} ${stats.size}` : 'absent';
    if (fingerprint === this.#fingerprint) return undefined;
    const text = stats && readFileSync(this.#path, 'utf8');
    this.#fingerprint = fingerprint;
    return { text };
  }

  /**
   * Replaces the file with the text that `update` returns, or leaves it if that is undefined. No other process updates it
   * in between. Rejects, without a change, if the lock is not available within 5 s or another process takes it over.
   */
  async update(update: () => string | undefined): Promise<void> {
    await mkdir(path.dirname(this.#path), { recursive: true, mode: 0o700 });
    const target = await realpath(this.#path).catch(() => this.#path); // A symbolic link stays a link.
    const lockPath = `${target}.lock`;
    const lock = await acquireLock(lockPath);
    try {
      const text = update();
      if (text === undefined) return;
      await lock.writeFile(text);
      await lock.sync();
      if (!(await isOwner(lock, lockPath))) throw new Error('lost the lock, nothing was changed');
      await rename(lockPath, target);
      await syncDirectory(path.dirname(target)); // Makes the rename durable.
    } finally {
      if (await isOwner(lock, lockPath)) await rm(lockPath, { force: true });
      await lock.close();
    }
  }
}

async function acquireLock(lockPath: string): Promise<FileHandle> {
  const giveUpAt = performance.now() + LOCK_TIMEOUT_MS;
  for (;;) {
    const lock = await open(lockPath, 'wx', 0o600).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'EEXIST') throw error;
    });
    if (lock) return lock;
    const existing = await stat(lockPath).catch(() => undefined);
    if (existing && Date.now() - existing.mtimeMs > LOCK_LEASE_MS) await rm(lockPath, { force: true });
    else if (performance.now() > giveUpAt) throw new Error(`another process holds ${lockPath}`);
    else await pause(LOCK_POLL_MS);
  }
}

/** Whether the lock file still is the one that this process created: the inode of an open file is not reused. */
async function isOwner(lock: FileHandle, lockPath: string): Promise<boolean> {
  const [own, current] = await Promise.all([lock.stat(), stat(lockPath).catch(() => undefined)]);
  return current !== undefined && own.ino === current.ino;
}

async function syncDirectory(folder: string): Promise<void> {
  const handle = await open(folder, 'r');
  await handle.sync().finally(() => handle.close());
}
