import { chmod, readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { settingNames } from '../../src/settings/definitions.ts';
import { defaultText, loadSettings } from '../../src/settings/load.ts';
import { version } from '../../src/version.ts';
import { ensureProgram } from '../helpers/debian-package.ts';
import { readDockerfile, readImage, root, type Stage } from '../helpers/dockerfile.ts';
import { ImageFolder } from '../helpers/image-folder.ts';
import { freePort } from '../helpers/redis.ts';
import { until } from '../helpers/wait.ts';

const hasTini = ensureProgram('tini', 'tini');
let image: Stage;
let folder: ImageFolder;

beforeAll(async () => {
  image = await readImage();
  folder = await ImageFolder.make();
}, 120_000);
afterAll(() => folder?.remove());

async function freeAddress() {
  const [PORT, OPS_PORT] = [String(await freePort()), String(await freePort())];
  return { PORT, OPS_PORT, CAMPAIGN_SERVICE_URL: 'http://127.0.0.1:9' };
}

test('its own command starts from its files alone, read-only, not as root, and ends with 0 at SIGTERM', async () => {
  const settings = await freeAddress();
  const words = [...(hasTini ? image.words('ENTRYPOINT') : []), ...image.words('CMD')];
  const gateway = folder.start(words, settings);
  const operations = `http://127.0.0.1:${settings.OPS_PORT}`;
  await until(async () => {
    gateway.throwIfExited();
    return (await fetch(`${operations}/readyz`).catch(() => undefined))?.ok;
  });
  expect((await fetch(`http://127.0.0.1:${settings.PORT}/openapi.json`)).status).toBe(200);
  const [, health = ''] = image.one('HEALTHCHECK').split(' CMD ');
  expect(await folder.start(JSON.parse(health), settings).exited()).toBe(0);
  gateway.signal('SIGTERM');
  expect(await gateway.exited(), gateway.output).toBe(0);
  expect(gateway.output).toContain('"stopped"');
  expect(await folder.start(JSON.parse(health), settings).exited()).toBe(1);
});

test('the step of its build that starts the gateway fills the compile cache', async () => {
  const warmUp = image.all('RUN').find((text) => text.includes('src/main.ts')) ?? '';
  const created = image.all('RUN').find((text) => text.startsWith('install ')) ?? '';
  const [uid, gid] = image.one('USER').split(':');
  expect(created).toBe(`install -d -o ${uid} -g ${gid} "$NODE_COMPILE_CACHE"`);
  await chmod(folder.cache, 0o777);
  const build = folder.start(['sh', '-c', warmUp], await freeAddress());
  expect(await build.exited(), build.output).toBe(0);
  const [cache = ''] = await readdir(folder.cache);
  expect((await readdir(path.join(folder.cache, cache))).length).toBeGreaterThan(100);
});

test('settings, ports, user and base are those of the code', async () => {
  const { NODE_ENV, NODE_COMPILE_CACHE, ...settings } = image.environment;
  expect([NODE_ENV, NODE_COMPILE_CACHE]).toEqual(['production', expect.stringMatching(/^\/var\//)]);
  expect(Object.keys(settings).filter((name) => !settingNames.some((known) => known === name))).toEqual([]);
  const read = loadSettings({ ...image.environment, CAMPAIGN_SERVICE_URL: 'http://campaigns' });
  expect([read.HOST, read.OPS_HOST]).toEqual(['0.0.0.0', '0.0.0.0']);
  expect(image.one('EXPOSE').split(' ')).toEqual([defaultText('PORT'), defaultText('OPS_PORT')]);
  expect(image.one('USER')).toMatch(/^[1-9]\d*:[1-9]\d*$/); // In numbers: Kubernetes cannot check a name for root.
  const { devDependencies } = JSON.parse(await readFile(path.join(root, 'package.json'), 'utf8'));
  const major = String(devDependencies.node).split('.')[0];
  const stages = await readDockerfile();
  expect(stages.map(({ base }) => base.image)).toEqual(stages.map(() => `node:${major}-slim`));
  const text = await readFile(path.join(root, 'config/Dockerfile'), 'utf8');
  expect(text).toContain(`-t campaign-gateway:${version} `);
});

test('packages are those of the lockfile, for production, installed without scripts', async () => {
  const [packages] = await readDockerfile();
  expect(packages?.base.name).toBe(image.copies.find(({ from }) => from !== undefined)?.from);
  expect(packages?.all('RUN')).toEqual([expect.stringMatching(/^npm ci --omit=dev --ignore-scripts /)]);
  expect(packages?.copies.flatMap(({ sources }) => sources)).toEqual(['package.json', 'package-lock.json']);
  const { packages: locked } = JSON.parse(await readFile(path.join(root, 'package-lock.json'), 'utf8'));
  const entries = Object.entries<{ dev?: boolean; hasInstallScript?: boolean }>(locked);
  const withScripts = entries.filter(([, { dev, hasInstallScript }]) => !dev && hasInstallScript);
  // Nothing of it is used: it reports installations of the package that depends on it.
  expect(withScripts.map(([folder]) => folder)).toEqual(['node_modules/@scarf/scarf']);
});

test('the build sees what is copied, and nothing else', async () => {
  const lines = (await readFile(path.join(root, '.dockerignore'), 'utf8')).split('\n');
  const [everything, ...seen] = lines.filter((line) => line !== '' && !line.startsWith('#'));
  expect(everything).toBe('*');
  const copied = (await readDockerfile()).flatMap(({ copies }) =>
    copies.flatMap(({ from, sources }) => (from === undefined ? sources : [])),
  );
  expect(seen.sort()).toEqual([...new Set(copied)].map((source) => `!${source}`).sort());
});
