import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import express from 'express';
import { expect, onTestFinished, test } from 'vitest';
import { getClientAddress, parseTrustProxy, throttlingNetwork } from '../../src/http/client-address.ts';

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
  onTestFinished(() => void server.close());
  await once(server, 'listening');
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const response = await fetch(url, { headers: { 'x-forwarded-for': chain } });
  expect(await response.text()).toBe(expected);
});

test.each([
  ['192.0.2.1', '192.0.2.1'],
  ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'],
  ['2001:DB8:1:2::', '2001:db8:1:2::/64'],
  ['2001:0db8:0001:0002::192.0.2.1', '2001:db8:1:2::/64'],
  ['::1', '0:0:0:0::/64'],
  ['fe80::1%eth0', 'fe80:0:0:0::/64'],
  ['1::', '1:0:0:0::/64'],
])('failed keys from %s are counted for %s', (address, network) => {
  expect(throttlingNetwork(address)).toBe(network);
});
