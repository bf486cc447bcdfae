import { editDistance } from '../settings/misspellings.ts';

/** The candidate with the smallest edit distance to a word; undefined if none is similar. */
export function findSimilar(word: string, candidates: readonly string[]): string | undefined {
  const maxDistance = Math.max(1, Math.floor(word.length / 4));
  const [closest] = candidates
    .map((candidate) => ({ candidate, distance: editDistance(word, candidate) }))
    .sort((a, b) => a.distance - b.distance);
  return closest && closest.distance <= maxDistance ? closest.candidate : undefined;
}
