'use strict';

const fs = require('fs');
const net = require('net');

// Browsers refuse to connect to some of the ports below.
const LOWEST = 11000;
const HIGHEST = 65535;

const given = new Set(); // by this process

/**
 * A port of 127.0.0.1 on which nobody listens. It is not one of the ports that the kernel gives to outgoing connections and
 * to servers on port 0: a server that is killed can be started on it again, whatever other tests do meanwhile.
 */
async function freePort() {
  const [ low, high ] = portRange(...ephemeralRange());
  for (let attempt = 0; attempt < 1000; attempt++) {
    const port = low + Math.floor(Math.random() * (high - low + 1));
    if (given.has(port) || !await canListen(port)) continue;
    given.add(port);
    return port;
  }
  throw new Error(`no free port of ${low} to ${high} in 1000 attempts`);
}

function canListen(port) {
  return new Promise(resolve => {
    const server = net.createServer().once('error', () => resolve(false));
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
  });
}

/** The larger of the two ranges below and above the ephemeral ports. */
function portRange(ephemeralLow, ephemeralHigh) {
  const below = [ LOWEST, ephemeralLow - 1 ];
  const above = [ ephemeralHigh + 1, HIGHEST ];
  const range = above[1] - above[0] > below[1] - below[0] ? above : below;
  return range[1] - range[0] < 100 ? [ LOWEST, HIGHEST ] : range; // nearly all ports are ephemeral: a collision is possible
}

/** The ports that the kernel gives away. Where it does not say, they are those that IANA sets aside, and Linux's default. */
function ephemeralRange() {
  try {
    return fs.readFileSync('/proc/sys/net/ipv4/ip_local_port_range', 'utf8').trim().split(/\s+/).map(Number);
  } catch {
    return [ 32768, HIGHEST ];
  }
}

module.exports = { freePort, portRange, ephemeralRange };
