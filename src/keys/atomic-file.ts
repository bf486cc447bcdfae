import { randomUUID } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { mkdir, open, readFile, realpath, rename, rm, stat } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';

/** A holder that has kept the lock for so long has died. */
const LOCK_LEASE_MS = 10_000;
const LOCK_TIMEOUT_MS = 5_000;

/** A file that is only ever replaced whole, by one process at a time; for its owner's eyes only. */
export class AtomicFile {
  readonly #file: string;
  readonly #lock: string;
  #fingerprint = '';

  constructor(file: string) {
    this.#file = file;
    this.#lock = `${file}.lock`;
  }

  /**
   * The text, or undefined where there is no file; nothing at all where it is as it was at the last call (a look at its
   * stamp, about 2 µs). Throws where it cannot be read.
   */
  readIfChanged(): { readonly text: string | undefined } | undefined {
    const stats = statSync(this.#file, { bigint: true, throwIfNoEntry: false });
    const fingerprint = stats ? `${stats.ino} ${stats.mtimeNs} ${stats.size}` : 'absent';
    if (fingerprint === this.#fingerprint) return undefined;
    const text = stats && readFileSync(this.#file, 'utf8');
    this.#fingerprint = fingerprint;
    return { text };
  }

  /**
   * Runs `change` while no other process does so, and puts the text it gives, if any, in the place of the file. Rejects
   * where the lock cannot be had within some seconds, or was taken over as that of a dead process.
   */
  async update(update: () => string | undefined): Promise<void> {
    await mkdir(path.dirname(this.#file), { recursive: true, mode: 0o700 });
    const token = randomUUID();
    await this.#acquireLock(token);
    try {
      const text = update();
      if (text !== undefined) await this.#replace(text, token);
    } finally {
      if (await this.#isHeldBy(token)) await rm(this.#lock, { force: true });
    }
  }

  /** Written beside the old file and renamed: a reader sees the old or the new, never half of it, also after a power cut. */
  async #replace(text: string, token: string): Promise<void> {
    const target = await realpath(this.#file).catch(() => this.#file);
    const temporary = `${target}.${token}`;
    try {
      const handle = await open(temporary, 'wx', 0o600);
      try {
        await handle.writeFile(text);
        await handle.sync();
      } finally {
        await handle.close();
      }
      if (!(await this.#isHeldBy(token))) throw new Error('the lock was lost; nothing was changed');
      await rename(temporary, target);
      await fsyncDirectory(path.dirname(target));
    } catch (error) {
      await rm(temporary, { force: true });
      throw error;
    }
  }

  async #acquireLock(token: string): Promise<void> {
    const giveUpAt = Date.now() + LOCK_TIMEOUT_MS;
    while (!(await this.#tryLock(token))) {
      const lock = await stat(this.#lock).catch(() => undefined);
      if (lock && Date.now() - lock.mtimeMs > LOCK_LEASE_MS) await rm(this.#lock, { force: true });
      else if (Date.now() > giveUpAt) throw new Error(`another process holds ${this.#lock}`);
      else await pause(20);
    }
  }

  async #tryLock(token: string): Promise<boolean> {
    try {
      const handle = await open(this.#lock, 'wx', 0o600);
      await handle.writeFile(token).finally(() => handle.close());
      return true;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
      throw error;
    }
  }

  async #isHeldBy(token: string): Promise<boolean> {
    return (await readFile(this.#lock, 'utf8').catch(() => '')) === token;
  }
}

/** Makes a rename last. */
async function fsyncDirectory(folder: string): Promise<void> {
  const handle = await open(folder, 'r');
  await handle.sync().finally(() => handle.close());
}
