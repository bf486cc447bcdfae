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
  // Short names differ by little from other common variables (HOME and HOST), as do OpenTelemetry's names from each other.
  const maxDistance = name.length < 8 || name.startsWith('OTEL_') ? 1 : 2;
  const isSimilar = (valid: string) =>
    valid.replace(UNIT, '') === name ||
    sortLetters(valid) === sortLetters(name) ||
    editDistance(name, valid) <= maxDistance;
  return validNames.find(isSimilar);
}

/** Equal for names with swapped letters. */
function sortLetters(name: string): string {
  return [...name].sort().join('');
}

/** Levenshtein distance: the number of insertions, deletions and substitutions. */
export function editDistance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (const [i, letter] of [...a].entries()) {
    const current = [i + 1];
    for (const [j, other] of [...b].entries()) {
      const [insertion = 0, deletion = 0, substitution = 0] = [current[j], previous[j + 1], previous[j]];
      current.push(Math.min(insertion + 1, deletion + 1, substitution + (letter === other ? 0 : 1)));
    }
    previous = current;
  }
  return previous[b.length] ?? 0;
}
