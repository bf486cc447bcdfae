import { constants } from 'node:fs';
import { chmod, copyFile, cp, mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { readImage, root, type Stage } from './dockerfile.ts';
import { Processes, type RunningProcess } from './processes.ts';

interface Lockfile {
  readonly packages: Readonly<Record<string, { dev?: boolean }>>;
}

/** What `npm ci --omit=dev` installs, by its folder. */
async function productionPackages(): Promise<string[]> {
  const { packages }: Lockfile = JSON.parse(await readFile(path.join(root, 'package-lock.json'), 'utf8'));
  return Object.entries(packages).flatMap(([folder, { dev }]) => (folder === '' || dev ? [] : [folder]));
}

/** Without packages of its own: those have lines of their own in the lockfile. */
async function copyPackage(folder: string, target: string): Promise<void> {
  const source = path.join(root, folder);
  const filter = (file: string) => path.relative(source, file).split(path.sep)[0] !== 'node_modules';
  await cp(source, path.join(target, folder), { recursive: true, filter });
}

/**
 * The files of the image in a folder: what the Dockerfile copies, with production packages alone. There is no container
 * engine for the tests, so its commands run as plain processes there; where the tests run as root, as the image's user.
 */
export class ImageFolder {
  readonly image: Stage;
  readonly #folder: string;
  readonly #processes = new Processes();

  private constructor(image: Stage, folder: string) {
    this.image = image;
    this.#folder = folder;
  }

  static async make(): Promise<ImageFolder> {
    const made = new ImageFolder(await readImage(), await mkdtemp(path.join(tmpdir(), 'gateway-test-image-')));
    try {
      await made.#fill();
      return made;
    } catch (error) {
      await made.remove();
      throw error;
    }
  }

  async #fill(): Promise<void> {
    await chmod(this.#folder, 0o755);
    await Promise.all([mkdir(this.#app), mkdir(this.#bin), mkdir(this.cache)]);
    // The program itself: the image's user may not get at that of the one who runs the tests.
    await copyFile(process.execPath, path.join(this.#bin, 'node'), constants.COPYFILE_FICLONE);
    for (const { from, sources, target } of this.image.copies) {
      if (from !== undefined) {
        for (const name of await productionPackages()) await copyPackage(name, this.#app);
        continue;
      }
      for (const source of sources) {
        const place = target.endsWith('/') ? path.join(target, source) : target;
        await cp(path.join(root, source), path.join(this.#app, place), { recursive: true });
      }
    }
  }

  get #app() {
    return path.join(this.#folder, 'app');
  }

  get #bin() {
    return path.join(this.#folder, 'bin');
  }

  /** In the place of NODE_COMPILE_CACHE. */
  get cache() {
    return path.join(this.#folder, 'cache');
  }

  /** Starts what a container would: a command, with the image's variables and these. */
  start(words: readonly string[], environment: Readonly<Record<string, string>> = {}): RunningProcess {
    const [uid, gid] = this.image.one('USER').split(':').map(Number);
    return this.#processes.start(words, {
      cwd: this.#app,
      env: {
        ...this.image.environment,
        NODE_COMPILE_CACHE: this.cache,
        PATH: `${this.#bin}:/usr/local/bin:/usr/bin:/bin`,
        TINI_SUBREAPER: '1', // For tini, which is not process 1 here.
        ...environment,
      },
      ...(process.getuid?.() === 0 && { uid, gid }),
    });
  }

  async remove(): Promise<void> {
    await this.#processes.stop();
    await rm(this.#folder, { recursive: true, force: true });
  }
}
