import { z } from 'zod';

/** Every id in a path. Excludes dots, slashes and percent signs, so an id cannot alter the upstream path. */
export const identifier = z.string().regex(/^[A-Za-z0-9_-]{1,64}$/, 'must be 1–64 characters of A–Z a–z 0–9 _ -');
