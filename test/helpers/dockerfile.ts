import { readFile } from 'node:fs/promises';
import path from 'node:path';

export const root = path.resolve(import.meta.dirname, '../..');

interface Instruction {
  readonly keyword: string;
  readonly text: string;
}

export interface Copy {
  /** The stage to copy from; undefined: the repository. */
  readonly from: string | undefined;
  readonly sources: readonly string[];
  readonly target: string;
}

/** One stage of a Dockerfile. It supports the syntax that config/Dockerfile uses. */
export class Stage {
  readonly instructions: readonly Instruction[];

  constructor(instructions: readonly Instruction[]) {
    this.instructions = instructions;
  }

  all(keyword: string): string[] {
    return this.instructions.filter((instruction) => instruction.keyword === keyword).map(({ text }) => text);
  }

  /** The last instruction of a kind, which overrides earlier ones. */
  one(keyword: string): string {
    const text = this.all(keyword).at(-1);
    if (text === undefined) throw new Error(`no ${keyword}`);
    return text;
  }

  /** The arguments of an instruction in exec form. Throws for the shell form. */
  words(keyword: string): string[] {
    return JSON.parse(this.one(keyword));
  }

  get base(): { image: string; name: string | undefined } {
    const [image = '', , name] = this.one('FROM').split(' ');
    return { image, name };
  }

  get environment(): Record<string, string> {
    const pairs = this.all('ENV').flatMap((text) => [...text.matchAll(/(\w+)=(\S+)/g)]);
    return Object.fromEntries(pairs.map(([, name = '', value = '']) => [name, value]));
  }

  get copies(): Copy[] {
    return this.all('COPY').map((text) => {
      const words = text.split(' ');
      const from = words[0]?.startsWith('--from=') ? words.shift()?.slice('--from='.length) : undefined;
      return { from, sources: words.slice(0, -1), target: words.at(-1) ?? '' };
    });
  }
}

export async function readDockerfile(): Promise<Stage[]> {
  const text = await readFile(path.join(root, 'config/Dockerfile'), 'utf8');
  const instructions = text
    .replace(/^#.*\n/gm, '')
    .replace(/\s*\\\n\s*/g, ' ')
    .split('\n')
    .filter((line) => line.trim() !== '')
    .map((line) => {
      const [, keyword = '', rest = ''] = /^([A-Z]+) (.+)$/.exec(line) ?? [];
      return { keyword, text: rest };
    });
  const starts = instructions.flatMap(({ keyword }, i) => (keyword === 'FROM' ? [i] : []));
  return starts.map((start, i) => new Stage(instructions.slice(start, starts[i + 1])));
}

/** The last stage: the image. */
export async function readImage(): Promise<Stage> {
  const last = (await readDockerfile()).at(-1);
  if (!last) throw new Error('the Dockerfile has no stage');
  return last;
}
