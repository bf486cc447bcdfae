import { constants } from 'node:fs';
import { chmod, copyFile, cp, mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { readImage, root, type Stage } from './dockerfile.ts';
import { Processes, type RunningProcess } from './processes.ts';

interface Lockfile {
  readonly packages: Readonly<Record<string, { dev?: boolean }>>;
}

/** The folders that `npm ci --omit=dev` installs. */
async function productionPackages(): Promise<string[]> {
  const { packages }: Lockfile = JSON.parse(await readFile(path.join(root, 'package-lock.json'), 'utf8'));
  return Object.entries(packages).flatMap(([folder, { dev }]) => (folder === '' || dev ? [] : [folder]));
}

/** Copies a package without its nested packages, which are separate entries of the lockfile. */
async function copyPackage(folder: string, target: string): Promise<void> {
  const source = path.join(root, folder);
  const filter = (file: string) => path.relative(source, file).split(path.sep)[0] !== 'node_modules';
  await cp(source, path.join(target, folder), { recursive: true, filter });
}

/**
 * A folder with the files of the image: those that the Dockerfile copies, and production packages. The tests need no container
 * engine: commands of the image run as plain processes in this folder, as the image's user if the tests run as root.
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
    const folder = new ImageFolder(await readImage(), await mkdtemp(path.join(tmpdir(), 'gateway-test-image-')));
    try {
      await folder.#fill();
      return folder;
    } catch (error) {
      await folder.remove();
      throw error;
    }
  }

  async #fill(): Promise<void> {
    await chmod(this.#folder, 0o755);
    await Promise.all([mkdir(this.#app), mkdir(this.#bin), mkdir(this.cache)]);
    // A copy of node: the image's user may not have access to the one that runs the tests.
    await copyFile(process.execPath, path.join(this.#bin, 'node'), constants.COPYFILE_FICLONE);
    for (const { from, sources, target } of this.image.copies) {
      if (from !== undefined) {
        for (const name of await productionPackages()) await copyPackage(name, this.#app);
        continue;
      }
      for (const source of sources) {
        const destination = target.endsWith('/') ? path.join(target, source) : target;
        await cp(path.join(root, source), path.join(this.#app, destination), { recursive: true });
      }
    }
  }

  get #app() {
    return path.join(this.#folder, 'app');
  }

  get #bin() {
    return path.join(this.#folder, 'bin');
  }

  /** The folder that replaces NODE_COMPILE_CACHE. */
  get cache() {
    return path.join(this.#folder, 'cache');
  }

  /** Starts a command with the image's environment variables and the given ones. */
  start(words: readonly string[], environment: Readonly<Record<string, string>> = {}): RunningProcess {
    const [uid, gid] = this.image.one('USER').split(':').map(Number);
    return this.#processes.start(words, {
      cwd: this.#app,
      env: {
        ...this.image.environment,
        NODE_COMPILE_CACHE: this.cache,
        PATH: `${this.#bin}:/usr/local/bin:/usr/bin:/bin`,
        TINI_SUBREAPER: '1', // tini is not process 1 here.
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
