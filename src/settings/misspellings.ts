import { secretSettings, settingNames } from './definitions.ts';
import type { Environment } from './load.ts';

const validNames: readonly string[] = [...settingNames, ...secretSettings.map((name) => `${name}_FILE`)];
const UNIT = /_(?:MS|BYTES)$/;

/** One sentence for each variable that is not a setting but is spelled like one, such as `PROT` or `CACHE_TTL`. */
export function findMisspellings(environment: Environment): string[] {
  return Object.keys(environment).flatMap((name) => {
    const similar = environment[name] && !validNames.includes(name) ? findSimilar(name) : undefined;
    return similar === undefined ? [] : [`${name} is not a setting: did you mean ${similar}?`];
  });
}

function findSimilar(name: string): string | undefined {
  const maxDistance = getMaxDistance(name);
  const candidates = validNames
    .map((valid) => ({ valid, distance: valid.replace(UNIT, '') === name ? 1 : editDistance(name, valid) }))
    .filter(({ distance }) => distance <= maxDistance);
  return candidates.sort((a, b) => a.distance - b.distance)[0]?.valid;
}

/** Short names differ by little from other common variables (HOME and HOST), as do OpenTelemetry's names from each other. */
function getMaxDistance(name: string): number {
  return name.length < 8 || name.startsWith('OTEL_') ? 1 : 2;
}

/** Insertions, deletions, substitutions and swaps of neighbors: the optimal string alignment distance. */
function editDistance(a: string, b: string): number {
  let [beforePrevious, previous]: number[][] = [[], Array.from({ length: b.length + 1 }, (_, j) => j)];
  for (let i = 1; i <= a.length; i++) {
    const current = [i];
    for (let j = 1; j <= b.length; j++) {
      const substitution = at(previous, j - 1) + (a[i - 1] === b[j - 1] ? 0 : 1);
      const isSwap = a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      const swap = isSwap ? at(beforePrevious, j - 2) + 1 : Number.POSITIVE_INFINITY;
      current.push(Math.min(at(previous, j) + 1, at(current, j - 1) + 1, substitution, swap));
    }
    [beforePrevious, previous] = [previous, current];
  }
  return at(previous, b.length);
}

function at(row: readonly number[] | undefined, index: number): number {
  return row?.[index] ?? Number.POSITIVE_INFINITY;
}
