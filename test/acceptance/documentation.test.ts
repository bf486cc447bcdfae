import { existsSync, globSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';
import { errorEnvelope } from '../../src/http/envelope.ts';
import { errorDefinitions, GatewayError, toGatewayError } from '../../src/http/errors.ts';
import { serverLimits } from '../../src/http/server-limits.ts';

const root = path.resolve(import.meta.dirname, '../..');
const read = (file: string) => readFileSync(path.join(root, file), 'utf8');

/** GitHub's anchors: lower case, without punctuation, with hyphens for spaces. */
function findAnchors(file: string): string[] {
  return [...read(file).matchAll(/^#+ (.+)$/gm)].map(([, title = '']) =>
    title
      .toLowerCase()
      .replace(/[^\w\- ]/g, '')
      .replaceAll(' ', '-'),
  );
}

test('every link in the documentation leads to an existing file, folder or heading', () => {
  const files = globSync('{README.md,config/*.md,{src,test}/**/README.md}', { cwd: root });
  expect(files.length).toBeGreaterThan(10);
  for (const file of files) {
    for (const [, target = '', anchor = ''] of read(file).matchAll(/\]\((?!https?:)([^)#]*)(?:#([^)]+))?\)/g)) {
      const linked = target === '' ? file : path.join(path.dirname(file), target);
      expect(existsSync(path.join(root, linked)), `${file} links to ${target}`).toBe(true);
      if (anchor !== '') expect(findAnchors(linked), `${file} links to #${anchor}`).toContain(anchor);
    }
  }
});

test('the README lists every error code with its status', () => {
  const listed = [...read('README.md').matchAll(/^\| (\d{3}) \| `([A-Z_]+)` \|/gm)];
  expect(Object.fromEntries(listed.map(([, status, code]) => [code, Number(status)]))).toEqual(
    Object.fromEntries(Object.entries(errorDefinitions).map(([code, { status }]) => [code, status])),
  );
});

test('any thrown value other than a GatewayError becomes a 500 that reveals no internals', () => {
  for (const thrown of [new TypeError('secret at 10.0.0.7'), 'secret', null, undefined, { code: 'UNAUTHORIZED' }]) {
    const error = toGatewayError(thrown);
    expect([error.status, error.reason]).toEqual([500, 'internal']);
    expect(errorEnvelope(error, 'a'.repeat(32))).not.toMatch(/secret|10\.0/);
  }
  const gatewayError = new GatewayError('NOT_FOUND', 'No such campaign.');
  expect(toGatewayError(gatewayError)).toBe(gatewayError);
});

test('config/README.md states the server limits', () => {
  const section = read('config/README.md')
    .split(/^## /m)
    .find((text) => text.startsWith('Limits of the HTTP server'));
  const { headerBytes, headers, targetBytes, bodyBytes, pipelinedRequests, ...timeoutsMs } = serverLimits;
  const sizes = [headerBytes, targetBytes, bodyBytes].map((bytes) => `${bytes / 1024} KiB`);
  const timeouts = Object.values(timeoutsMs).map((ms) => `| ${ms / 1000} s |`);
  for (const limit of [...sizes, ...timeouts, `${headers} headers`, `| ${pipelinedRequests}, served`]) {
    expect(section).toContain(limit);
  }
});
