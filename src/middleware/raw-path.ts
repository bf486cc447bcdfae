import { pathFromTarget } from '../http/path-template.ts';

/**
 * The URL that makes Express match the path of a request target as it was sent. Express decodes path parameters and ends the
 * path at a `#`; here `%63` is not `c` and `#` is an ordinary, invalid character. Escaping `%` and `#` once makes Express decode
 * to exactly what was sent.
 */
export function escapeRawPath(target: string): string {
  return pathFromTarget(target).replaceAll('%', '%25').replaceAll('#', '%23');
}
