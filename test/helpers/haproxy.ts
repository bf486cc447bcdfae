import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { root } from './dockerfile.ts';

/** The variables of the load balancer's configuration, with their defaults. */
export async function haproxyDefaults(): Promise<Record<string, string>> {
  const text = await readFile(path.join(root, 'config/compose/haproxy.cfg'), 'utf8');
  const found = [...text.matchAll(/\$\{(\w+)-([^}]*)\}/g)];
  return Object.fromEntries(found.map(([, name = '', value = '']) => [name, value]));
}
