'use strict';

// The ports of the tests' own servers.
const { test } = require('node:test');
const assert = require('node:assert');
const net = require('net');
const { freePort, portRange, ephemeralRange } = require('./harness/ports');

test('a free port is given away once, is not one that the kernel gives away, and can be listened on again', async () => {
  const [ low, high ] = ephemeralRange();
  const seen = new Set();
  for (let i = 0; i < 100; i++) {
    const port = await freePort();
    assert.ok(!seen.has(port), `${port} twice`);
    seen.add(port);
    assert.ok(port < low || port > high, `${port} is one of the ephemeral ports ${low} to ${high}`);
    for (let n = 0; n < 2; n++) {
      const server = net.createServer();
      await new Promise((resolve, reject) => server.once('error', reject).listen(port, '127.0.0.1', resolve));
      await new Promise(resolve => server.close(resolve));
    }
  }
});

test('the larger range beside the ephemeral ports is used', () => {
  for (const [ ephemeral, range ] of [
    [[ 32768, 60999 ], [ 11000, 32767 ]],
    [[ 49152, 65535 ], [ 11000, 49151 ]],
    [[ 15000, 20000 ], [ 20001, 65535 ]],
    [[ 1024, 50000 ], [ 50001, 65535 ]],
    [[ 1024, 65535 ], [ 11000, 65535 ]], // nothing is left
  ]) {
    assert.deepStrictEqual(portRange(...ephemeral), range, `${ephemeral}`);
  }
});
