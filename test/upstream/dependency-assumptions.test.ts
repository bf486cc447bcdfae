import { once } from 'node:events';
import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import express from 'express';
import { expect, test } from 'vitest';
import { z } from 'zod';
import { getClientAddress, parseTrustProxy, throttlingNetwork } from '../../src/http/client-address.ts';
import { exchangeBytes } from '../helpers/http.ts';

/** Behavior of Node and of packages that the code depends on. Run these first after an upgrade. */

test.each([
  ['false', '203.0.113.7', '127.0.0.1'],
  ['true', '198.51.100.1, 203.0.113.7', '198.51.100.1'],
  ['1', '198.51.100.1, 203.0.113.7', '203.0.113.7'],
  ['2', '198.51.100.1, 203.0.113.7', '198.51.100.1'],
  ['loopback', '198.51.100.1, 203.0.113.7', '203.0.113.7'],
  ['10.0.0.0/8, 127.0.0.1', '203.0.113.7, 10.1.2.3', '203.0.113.7'],
  ['true', '::ffff:203.0.113.7', '203.0.113.7'],
  ['true', 'not an address', '127.0.0.1'],
  ['1', '198.51.100.1, 203.0.113.9:4711', '203.0.113.9'],
  ['1', '[2001:db8::1]:4711', '2001:db8::1'],
  ['1', '[2001:db8::1]', '2001:db8::1'],
  ['1', '[::ffff:203.0.113.9]:4711', '203.0.113.9'],
  ['1', '2001:db8::1:4711', '2001:db8::1:4711'],
  ['loopback, 10.0.0.0/8', '198.51.100.1, 203.0.113.9:4711,10.1.2.3:80', '203.0.113.9'],
  ['1', '203.0.113.9:4711:1', '127.0.0.1'],
  ['1', '[not an address]:80', '127.0.0.1'],
])('with TRUST_PROXY=%s and X-Forwarded-For "%s" the client address is %s', async (trustProxy, chain, expected) => {
  const app = express().set('trust proxy', parseTrustProxy(trustProxy));
  app.use((request, response) => void response.end(getClientAddress(request)));
  const server = app.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const response = await fetch(url, { headers: { 'x-forwarded-for': chain } });
  expect(await response.text()).toBe(expected);
  server.close();
});

test('failed keys are counted per IPv4 address and per IPv6 /64 network', () => {
  expect(throttlingNetwork('192.0.2.1')).toBe('192.0.2.1');
  for (const address of [
    '2001:db8:1:2:3:4:5:6',
    '2001:DB8:1:2::',
    '2001:db8:1:2::6',
    '2001:0db8:0001:0002::192.0.2.1',
  ]) {
    expect(throttlingNetwork(address)).toBe('2001:db8:1:2::/64');
  }
  expect(throttlingNetwork('::ffff:102:304')).not.toBe(throttlingNetwork('::ffff:102:305'));
  expect(throttlingNetwork('::1')).toBe('0:0:0:0::/64');
  expect(throttlingNetwork('fe80::1%eth0')).toBe('fe80:0:0:0::/64');
  expect(throttlingNetwork('1::')).toBe('1:0:0:0::/64');
});

test('Node joins repeated X-API-Key headers with a comma and keeps only the first Authorization header', async () => {
  const received = Promise.withResolvers<IncomingMessage>();
  const server = createServer((request, response) => {
    received.resolve(request);
    response.end();
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  await exchangeBytes(
    url,
    'GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-API-Key: a\r\nX-API-Key: b\r\nAuthorization: c\r\nAuthorization: d\r\n\r\n',
  );
  const { headers, rawHeaders } = await received.promise;
  expect([headers['x-api-key'], headers.authorization]).toEqual(['a, b', 'c']);
  expect(rawHeaders.filter((text) => text === 'Authorization')).toHaveLength(2);
  server.close();
});

test('zod outputs fields in schema order and drops unknown fields', () => {
  const schema = z.object({ b: z.int(), a: z.string().nullable().default(null) });
  expect(JSON.stringify(schema.parse(JSON.parse('{"__proto__":1,"c":2,"a":"x","b":3}')))).toBe('{"b":3,"a":"x"}');
  expect(JSON.stringify(schema.parse({ b: 3 }))).toBe('{"b":3,"a":null}');
});
