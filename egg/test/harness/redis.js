'use strict';

const fs = require('fs');
const os = require('os');
const path = require('path');
const net = require('net');
const { spawn } = require('child_process');
const { until } = require('./wait');
const { freePort } = require('./ports');

/**
 * A redis-server of the tests' own.
 * @param {object} [options]
 * @param {boolean} [options.durable] whether it keeps what it has acknowledged when it is killed
 */
async function startRedis({ durable = false } = {}) {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'fanfare-egg-redis-'));
  return run(await freePort(), dir, durable);
}

async function run(port, dir, durable) {
  const keep = durable ? [ '--appendonly', 'yes', '--appendfsync', 'always' ] : [ '--appendonly', 'no' ];
  const child = spawn('redis-server', [ '--port', String(port), '--bind', '127.0.0.1', '--save', '', ...keep, '--dir', dir ], { stdio: 'ignore' });
  let failure;
  child.once('error', err => { failure = err.code === 'ENOENT' ? new Error('redis-server is missing: run scripts/install.sh') : err; });
  const exited = new Promise(resolve => child.once('close', resolve));
  await until('Redis answers', async () => {
    if (failure) return true;
    const socket = net.connect(port, '127.0.0.1');
    return await new Promise((resolve, reject) => {
      socket.once('data', resolve);
      socket.once('error', reject);
      socket.write('PING\r\n');
    }).finally(() => socket.destroy());
  });
  if (failure) throw failure;
  const kill = async () => {
    child.kill('SIGKILL');
    await exited;
  };
  return {
    port,
    kill,
    restart: () => run(port, dir, durable),
    stop: async () => {
      await kill();
      fs.rmSync(dir, { recursive: true, force: true });
    },
  };
}

module.exports = { startRedis };
