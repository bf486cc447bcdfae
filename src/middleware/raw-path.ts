import type { RequestHandler } from 'express';
import { pathFromTarget } from '../http/path-template.ts';

/**
 * Makes Express match the path as it was sent. Express decodes path parameters and ends the path at a `#`; here `%63` is not
 * `c` and `#` is an ordinary, invalid character. Escaping `%` and `#` once makes Express decode to exactly what was sent.
 */
export const matchRawPath: RequestHandler = function matchRawPath(request, _response, next) {
  request.originalUrl = request.url;
  const path = pathFromTarget(request.url).replace(/[%#]/g, (character) => (character === '%' ? '%25' : '%23'));
  if (path !== request.url) request.url = path; // Express parses a changed URL again.
  next();
};
