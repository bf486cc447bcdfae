import { chmod, readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { settingNames } from '../../../src/settings/definitions.ts';
import { defaultText, loadSettings } from '../../../src/settings/load.ts';
import { version } from '../../../src/version.ts';
import { isInstalled } from '../../helpers/debian-package.ts';
import { readDockerfile, readImage, root, type Stage } from '../../helpers/dockerfile.ts';
import { ImageFolder } from '../../helpers/image-folder.ts';
import { freePort } from '../../helpers/redis.ts';
import { until } from '../../helpers/wait.ts';

const hasTini = isInstalled('tini');
const hasScript = isInstalled('script');
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

test('the image command starts the gateway from the image files as the image user, and exits 0 on SIGTERM', async () => {
  const settings = await freeAddress();
  const command = [...(hasTini ? image.words('ENTRYPOINT') : []), ...image.words('CMD')];
  const gateway = folder.start(command, settings);
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

test.skipIf(!hasScript)('without development dependencies the log on a terminal is JSON', async () => {
  const gateway = folder.start(['script', '-qec', image.words('CMD').join(' '), '/dev/null'], await freeAddress());
  await until(() => {
    gateway.throwIfExited();
    return /^\{"level":"info",.*"msg":"listening"\}\r?$/m.test(gateway.output);
  });
});

test('the warm-up step of the build fills the compile cache', async () => {
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

test('environment, ports, user and base image match the code', async () => {
  const { NODE_ENV, NODE_COMPILE_CACHE, ...settings } = image.environment;
  expect([NODE_ENV, NODE_COMPILE_CACHE]).toEqual(['production', expect.stringMatching(/^\/var\//)]);
  expect(Object.keys(settings).filter((name) => !settingNames.some((setting) => setting === name))).toEqual([]);
  const loaded = loadSettings({ ...image.environment, CAMPAIGN_SERVICE_URL: 'http://campaigns' });
  expect([loaded.HOST, loaded.OPS_HOST]).toEqual(['0.0.0.0', '0.0.0.0']);
  expect(image.one('EXPOSE').split(' ')).toEqual([defaultText('PORT'), defaultText('OPS_PORT')]);
  expect(image.one('USER')).toMatch(/^[1-9]\d*:[1-9]\d*$/); // Numeric: Kubernetes cannot verify that a user name is not root.
  const { devDependencies } = JSON.parse(await readFile(path.join(root, 'package.json'), 'utf8'));
  const major = String(devDependencies.node).split('.')[0];
  const stages = await readDockerfile();
  expect(stages.map(({ base }) => base.image)).toEqual(stages.map(() => `node:${major}-slim`));
  const text = await readFile(path.join(root, 'config/Dockerfile'), 'utf8');
  expect(text).toContain(`-t campaign-gateway:${version} `);
});

test('packages are the production packages of the lockfile, installed without scripts', async () => {
  const [packages] = await readDockerfile();
  expect(packages?.base.name).toBe(image.copies.find(({ from }) => from !== undefined)?.from);
  expect(packages?.all('RUN')).toEqual([expect.stringMatching(/^npm ci --omit=dev --ignore-scripts /)]);
  expect(packages?.copies.flatMap(({ sources }) => sources)).toEqual(['package.json', 'package-lock.json']);
  const { packages: locked } = JSON.parse(await readFile(path.join(root, 'package-lock.json'), 'utf8'));
  const entries = Object.entries<{ dev?: boolean; hasInstallScript?: boolean }>(locked);
  const withScripts = entries.filter(([, { dev, hasInstallScript }]) => !dev && hasInstallScript);
  expect(withScripts.map(([folder]) => folder)).toEqual([]);
});

test('the build context contains exactly what the Dockerfile copies', async () => {
  const lines = (await readFile(path.join(root, '.dockerignore'), 'utf8')).split('\n');
  const [everything, ...included] = lines.filter((line) => line !== '' && !line.startsWith('#'));
  expect(everything).toBe('*');
  const copied = (await readDockerfile()).flatMap(({ copies }) =>
    copies.flatMap(({ from, sources }) => (from === undefined ? sources : [])),
  );
  expect(included.sort()).toEqual([...new Set(copied)].map((source) => `!${source}`).sort());
});
