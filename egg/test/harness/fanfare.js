'use strict';

const { spawn } = require('child_process');
const readline = require('readline');
const { binary } = require('./build');
const { until } = require('./wait');
const { freePort } = require('./ports');

const freeAddress = async () => `127.0.0.1:${await freePort()}`;

/** Starts a Fanfare of the tests' own: on free ports, on which it can be started again, or on those that it had before. */
async function startFanfare({ args = [], admin, stream, env = {} } = {}) {
  admin = admin || await freeAddress();
  stream = stream || await freeAddress();
  const child = spawn(binary, [ '--listen', stream, '--admin', admin, '--log-format', 'json', '--stdin-stops', ...args ], {
    stdio: [ 'pipe', 'ignore', 'pipe' ],
    env: { ...clean(process.env), ...env },
  });
  const fanfare = { child, log: [], args, env };
  fanfare.exited = new Promise(resolve => child.once('exit', resolve));
  const closed = new Promise(resolve => child.once('close', resolve));
  readline.createInterface({ input: child.stderr }).on('line', line => {
    fanfare.log.push(line);
    let record;
    try {
      record = JSON.parse(line);
    } catch {
      return;
    }
    if (record.msg === 'streams') fanfare.stream = new URL(record.url).origin;
    if (record.msg === 'publish API') fanfare.admin = new URL(record.url).origin;
  });
  const ended = () => child.exitCode !== null || child.signalCode !== null;
  await until('Fanfare is up', () => fanfare.admin || ended());
  if (ended()) {
    await closed; // its log is complete
    throw new Error(`Fanfare has ended:\n${fanfare.log.join('\n')}`);
  }
  fanfare.kill = async signal => {
    child.kill(signal);
    await fanfare.exited;
  };
  fanfare.stop = () => fanfare.kill('SIGKILL');
  fanfare.restart = () => startFanfare({ args, env, admin: new URL(fanfare.admin).host, stream: new URL(fanfare.stream).host });
  fanfare.count = async key => {
    const answer = await (await fetch(`${fanfare.admin}/count?key=${encodeURIComponent(key)}`)).json();
    return answer.count;
  };
  return fanfare;
}

function clean(env) {
  return Object.fromEntries(Object.entries(env).filter(([ name ]) => !name.startsWith('FANFARE_')));
}

module.exports = { startFanfare };
