import { randomUUID } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { mkdir, open, readFile, realpath, rename, rm, stat } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';

/** A holder that has kept the lock for so long has died. */
const LOCK_LEASE_MS = 10_000;
const LOCK_PATIENCE_MS = 5_000;

/** A file that is only ever replaced whole, by one process at a time; for its owner's eyes only. */
export class DurableFile {
  readonly #file: string;
  readonly #lock: string;
  #stamp = '';

  constructor(file: string) {
    this.#file = file;
    this.#lock = `${file}.lock`;
  }

  /**
   * The text, or undefined where there is no file; nothing at all where it is as it was at the last call (a look at its
   * stamp, about 2 µs). Throws where it cannot be read.
   */
  readChanged(): { readonly text: string | undefined } | undefined {
    const stats = statSync(this.#file, { bigint: true, throwIfNoEntry: false });
    const stamp = stats ? `${stats.ino} ${stats.mtimeNs} ${stats.size}` : 'absent';
    if (stamp === this.#stamp) return undefined;
    const text = stats && readFileSync(this.#file, 'utf8');
    this.#stamp = stamp;
    return { text };
  }

  /**
   * Runs `change` while no other process does so, and puts the text it gives, if any, in the place of the file. Rejects
   * where the lock cannot be had within some seconds, or was taken over as that of a dead process.
   */
  async change(change: () => string | undefined): Promise<void> {
    await mkdir(path.dirname(this.#file), { recursive: true, mode: 0o700 });
    const token = randomUUID();
    await this.#take(token);
    try {
      const text = change();
      if (text !== undefined) await this.#replace(text, token);
    } finally {
      if (await this.#isHeldBy(token)) await rm(this.#lock, { force: true });
    }
  }

  /** Written beside the old file and renamed: a reader sees the old or the new, never half of it, also after a power cut. */
  async #replace(text: string, token: string): Promise<void> {
    const target = await realpath(this.#file).catch(() => this.#file);
    const draft = `${target}.${token}`;
    try {
      const handle = await open(draft, 'wx', 0o600);
      try {
        await handle.writeFile(text);
        await handle.sync();
      } finally {
        await handle.close();
      }
      if (!(await this.#isHeldBy(token))) throw new Error('the lock was lost; nothing was changed');
      await rename(draft, target);
      await syncFolder(path.dirname(target));
    } catch (error) {
      await rm(draft, { force: true });
      throw error;
    }
  }

  async #take(token: string): Promise<void> {
    const patientUntil = Date.now() + LOCK_PATIENCE_MS;
    while (!(await this.#tryToTake(token))) {
      const taken = await stat(this.#lock).catch(() => undefined);
      if (taken && Date.now() - taken.mtimeMs > LOCK_LEASE_MS) await rm(this.#lock, { force: true });
      else if (Date.now() > patientUntil) throw new Error(`another process holds ${this.#lock}`);
      else await pause(20);
    }
  }

  async #tryToTake(token: string): Promise<boolean> {
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
async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r');
  await handle.sync().finally(() => handle.close());
}
