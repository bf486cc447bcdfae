import { existsSync, globSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';

const root = path.resolve(import.meta.dirname, '../..');

/** GitHub's anchors: lower case, without punctuation, with hyphens for spaces. */
function findAnchors(file: string): string[] {
  const titles = readFileSync(path.join(root, file), 'utf8').matchAll(/^#+ (.+)$/gm);
  return [...titles].map(([, title = '']) =>
    title
      .toLowerCase()
      .replace(/[^\w\- ]/g, '')
      .replaceAll(' ', '-'),
  );
}

test('every link in a README leads to an existing file, folder or heading', () => {
  const files = globSync('{README.md,{src,config,test}/**/README.md}', { cwd: root });
  expect(files.length).toBeGreaterThan(10);
  for (const file of files) {
    const text = readFileSync(path.join(root, file), 'utf8');
    for (const [, target = '', anchor = ''] of text.matchAll(/\]\((?!https?:)([^)#]*)(?:#([^)]+))?\)/g)) {
      const linked = target === '' ? file : path.join(path.dirname(file), target);
      expect(existsSync(path.join(root, linked)), `${file} links to ${target}`).toBe(true);
      if (anchor !== '') expect(findAnchors(linked), `${file} links to #${anchor}`).toContain(anchor);
    }
  }
});
