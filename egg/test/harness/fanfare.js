'use strict';

const { spawn } = require('child_process');
const readline = require('readline');
const { binary } = require('./build');
const { until } = require('./wait');

/** Starts a Fanfare of the tests' own: on free ports, or on those that it had before. */
async function startFanfare({ args = [], admin = '127.0.0.1:0', stream = '127.0.0.1:0', env = {} } = {}) {
  const child = spawn(binary, [ '--listen', stream, '--admin', admin, '--log-format', 'json', '--stdin-stops', ...args ], {
    stdio: [ 'pipe', 'ignore', 'pipe' ],
    env: { ...clean(process.env), ...env },
  });
  const fanfare = { child, log: [], args, env };
  fanfare.exited = new Promise(resolve => child.once('exit', resolve));
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
  await until('Fanfare is up', () => {
    if (child.exitCode !== null) throw new Error(fanfare.log.join('\n'));
    return fanfare.admin;
  });
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
