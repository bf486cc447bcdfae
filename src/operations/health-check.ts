import { get } from 'node:http';

/** For images, which have no curl: exits 0 if the gateway beside it answers at /livez, else 1. */
const host = process.env['OPS_HOST'] || '127.0.0.1';
const url = `http://${host === '0.0.0.0' ? '127.0.0.1' : host}:${process.env['OPS_PORT'] || '9090'}/livez`;
get(url, { timeout: 2000 }, ({ statusCode }) => process.exit(statusCode === 200 ? 0 : 1))
  .on('timeout', () => process.exit(1))
  .on('error', () => process.exit(1));
