import { LRUCache } from 'lru-cache';
import type { Entry } from './entry.ts';

/** What an entry takes beside its document and its path: measured, and rounded up. */
const OVERHEAD_BYTES = 600;

/** Entries of this process, the least recently used of which go when their bytes are more than allowed. */
export class MemoryEntryMap {
  readonly #entries: LRUCache<string, Entry>;

  constructor(maxBytes: number) {
    // lru-cache takes 0 for unbounded; one byte holds no entry.
    this.#entries = new LRUCache({ maxSize: Math.max(1, maxBytes), sizeCalculation: sizeOf });
  }

  get(path: string): Entry | undefined {
    return this.#entries.get(path);
  }

  /** Whether there was room for it. */
  set(path: string, entry: Entry): boolean {
    this.#entries.set(path, entry);
    return this.#entries.peek(path) === entry;
  }

  delete(path: string): void {
    this.#entries.delete(path);
  }

  get count(): number {
    return this.#entries.size;
  }

  get bytes(): number {
    return this.#entries.calculatedSize;
  }
}

/** A string takes two bytes a character as soon as one of them is beyond Latin-1. */
function sizeOf({ content }: Entry, path: string): number {
  const data = content.outcome === 'found' ? content.data : '';
  const width = /[^\0-\xff]/.test(data) ? 2 : 1;
  return OVERHEAD_BYTES + path.length + data.length * width;
}
