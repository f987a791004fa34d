'use strict';

const net = require('net');

// Nothing but a failure waits for so long.
const PATIENCE = 30000;

/** Waits until check() gives something truthy, and returns it. An error counts as not yet. */
async function until(what, check, patience = PATIENCE) {
  const end = Date.now() + patience;
  let last;
  for (;;) {
    try {
      last = await check();
      if (last) return last;
    } catch (err) {
      last = err;
    }
    if (Date.now() > end) throw new Error(`${what}: not after ${patience} ms; the last: ${last instanceof Error ? last.stack : JSON.stringify(last)}`);
    await new Promise(resolve => setTimeout(resolve, 10));
  }
}

/** A port of 127.0.0.1 that is free. */
async function freePort() {
  const server = net.createServer();
  await new Promise((resolve, reject) => server.once('error', reject).listen(0, '127.0.0.1', resolve));
  const { port } = server.address();
  await new Promise(resolve => server.close(resolve));
  return port;
}

module.exports = { until, freePort, PATIENCE };
