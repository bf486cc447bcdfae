import type { ServerResponse } from 'node:http';

/** What the sample service does for these ids instead of sending the campaign. */
export const faults: Readonly<Record<string, (response: ServerResponse, campaign: string) => void>> = {
  cmp_slow: (response, campaign) => void setTimeout(sendJson, 1500, response, 200, campaign),
  cmp_silent: () => {},
  cmp_unavailable: (response) => sendJson(response, 503, '{"error":"NullPointerException at internal.db:5432"}'),
  cmp_truncated: (response, campaign) => {
    response.writeHead(200, { 'content-length': Buffer.byteLength(campaign) });
    response.write(campaign.slice(0, 100), () => response.destroy());
  },
  cmp_reset: (response) => void response.socket?.resetAndDestroy(),
  cmp_html: (response) => void response.end('<!doctype html><title>Welcome to nginx</title>'),
  cmp_incomplete: (response) => sendJson(response, 200, '{"id":"cmp_incomplete","name":"No other field"}'),
};

export function sendJson(response: ServerResponse, status: number, body: string): void {
  response.writeHead(status, {
    'content-type': 'application/json',
    'content-length': Buffer.byteLength(body),
    'set-cookie': 'internal-session=not-for-clients',
    server: 'sample-campaign-service',
  });
  response.end(body);
}
