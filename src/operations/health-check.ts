import { get } from 'node:http';
import { formatLocalUrl } from '../http/format-url.ts';

/** Health check for images, which have no curl: exits 0 if the gateway in the same container is alive, else 1. */
const url = `${formatLocalUrl(process.env['OPS_HOST'] ?? '', process.env['OPS_PORT'] || 9090)}/livez`;
get(url, { timeout: 2000 }, ({ statusCode }) => process.exit(statusCode === 200 ? 0 : 1))
  .on('timeout', () => process.exit(1))
  .on('error', () => process.exit(1));
