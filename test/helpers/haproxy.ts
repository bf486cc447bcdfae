import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { root } from './dockerfile.ts';

/** Reads the variables of the HAProxy configuration with their defaults. */
export async function haproxyDefaults(): Promise<Record<string, string>> {
  const text = await readFile(path.join(root, 'config/compose/haproxy.cfg'), 'utf8');
  const variables = [...text.matchAll(/\$\{(\w+)-([^}]*)\}/g)];
  return Object.fromEntries(variables.map(([, name = '', value = '']) => [name, value]));
}
