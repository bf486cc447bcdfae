import { z } from 'zod';

/** The form of every id in a path. It keeps a dot, a slash or a percent sign from ever reaching the upstream path. */
export const identifier = z.string().regex(/^[A-Za-z0-9_-]{1,64}$/, 'must be 1–64 characters of A–Z a–z 0–9 _ -');
