'use strict';

// How a Fanfare that an agent starts outlives it: the parts on their own. start.test.js has them in applications.
const { test } = require('node:test');
const assert = require('node:assert');
const fs = require('fs');
const os = require('os');
const path = require('path');
const { format } = require('util');
const { settingsOf } = require('../lib/settings');
const { FanfareProcess } = require('../lib/fanfare_process');
const { Hold, Lease } = require('../lib/lease');
const { LogTail } = require('../lib/log_tail');
const { binary } = require('./harness/build');
const { subscribe } = require('./harness/subscriber');
const { until, PATIENCE } = require('./harness/wait');

const SECRETS = { tokens: 'x'.repeat(64), ask: 'y'.repeat(64), callback: '', derived: true };
const defaults = require('../config/config.default').sse;

const settingsWith = (change, start) => settingsOf({ ...defaults, ...change, server: { ...defaults.server, start: { ...defaults.server.start, binary, readyTimeout: PATIENCE, ...start } } });

function makeDir(t) {
  const dir = fs.mkdtempSync(path.join(fs.realpathSync(os.tmpdir()), 'fanfare-egg-lease-'));
  t.after(() => fs.rmSync(dir, { recursive: true, force: true }));
  return dir;
}

// An agent, as far as Fanfare is concerned.
function makeAgent(rundir, name, change, start) {
  const log = [];
  const write = (...args) => { log.push(format(...args)); };
  const agent = { log, states: [] };
  agent.process = new FanfareProcess(settingsWith(change, start), { error: write, warn: write, info: write }, new Lease({ rundir, name }), SECRETS, state => agent.states.push(state));
  agent.start = async () => {
    await agent.process.start();
    return until('a server is ready', () => agent.states.at(-1));
  };
  return agent;
}

// stopProcess suspends a process: kill returns before each of its threads has stopped.
async function stopProcess(pid) {
  process.kill(pid, 'SIGSTOP');
  await until('it has stopped', () => fs.readdirSync(`/proc/${pid}/task`).every(id => /^State:\s+T/m.test(fs.readFileSync(`/proc/${pid}/task/${id}/status`, 'utf8'))));
}

// listen returns the answers of the server as the agent hears them.
function listen(fanfareProcess) {
  const answers = [];
  const probe = fanfareProcess.probeAdmin;
  fanfareProcess.probeAdmin = async function() {
    answers.push(await probe.call(this));
    return answers.at(-1);
  };
  return answers;
}

const gone = admin => until('the server has gone', () => fetch(`${admin}/readyz`).then(() => false, () => true));

test('the next agent of the same start takes the server over, with what it logged meanwhile; another start has its own', async t => {
  const rundir = makeDir(t);
  const first = makeAgent(rundir, 'a');
  const where = await first.start();
  const worker = new Hold();
  assert.ok(worker.take(where.hold));
  const client = await subscribe(where.stream, 'k');
  await first.process.stop(); // the worker holds it
  await fetch(`${where.stream}/nothing-here`);

  const other = makeAgent(rundir, 'b');
  const elsewhere = await other.start();
  assert.notStrictEqual(elsewhere.admin, where.admin);
  await other.process.stop();
  await gone(elsewhere.admin);

  const next = makeAgent(rundir, 'a');
  assert.deepStrictEqual(await next.start(), where);
  await until('the log of the time between', () => next.log.some(line => /nothing-here/.test(line)));
  assert.ok(!next.log.some(line => /publish API/.test(line) && !/took over/.test(line)), 'nothing is logged twice');
  assert.ok(!client.ended);
  assert.strictEqual(fs.statSync(path.join(rundir, 'fanfare/a/lease.json')).mode & 0o777, 0o600);

  worker.release();
  await next.process.stop(); // the last one
  await gone(where.admin);
  assert.ok(!worker.take(where.hold));
  assert.ok(!fs.existsSync(path.join(rundir, 'fanfare/a')));
  client.close();
});

test('a server that does not answer for a while, as on a busy machine, is neither killed nor replaced', async t => {
  const rundir = makeDir(t);
  const first = makeAgent(rundir, 'a', {}, { stopTimeout: 0 });
  const where = await first.start();
  const { pid } = first.process.child;
  const worker = new Hold();
  worker.take(where.hold);
  const client = await subscribe(where.stream, 'k');
  t.after(() => {
    try {
      process.kill(pid, 'SIGCONT'); // or it could not end
    } catch {
      // It has ended.
    }
  });

  // The agent ends, and leaves it to the worker.
  const answers = listen(first.process);
  await stopProcess(pid);
  const stopped = first.process.stop();
  await until('it is asked twice without an answer', () => answers.length >= 2);
  process.kill(pid, 'SIGCONT');
  await stopped;
  assert.ok(!answers.includes('draining'), `${answers}`);

  // The next one finds it.
  await stopProcess(pid);
  const next = makeAgent(rundir, 'a', {}, { stopTimeout: 0 });
  t.after(() => next.process.stop());
  const asked = listen(next.process);
  const started = next.start();
  await until('it is asked twice without an answer', () => asked.length >= 2);
  process.kill(pid, 'SIGCONT');
  assert.deepStrictEqual(await started, where);
  assert.deepStrictEqual(next.log.filter(line => /started Fanfare/.test(line)), []);
  assert.ok(!client.ended);
  worker.release();
  await next.process.stop();
  await gone(where.admin);
});

test('an agent with other settings starts the server again', async t => {
  const rundir = makeDir(t);
  const first = makeAgent(rundir, 'a');
  const where = await first.start();
  const worker = new Hold();
  worker.take(where.hold);
  await first.process.stop();
  const next = makeAgent(rundir, 'a', { maxClients: 1 });
  const other = await next.start();
  assert.notStrictEqual(other.hold, where.hold);
  await gone(where.admin);
  worker.release();
  await next.process.stop();
  await gone(other.admin);
});

test('the run directory can not be written: the temporary one is used', async t => {
  const dir = makeDir(t);
  const file = path.join(dir, 'file');
  fs.writeFileSync(file, '');
  const agent = makeAgent(path.join(file, 'run'), 'a');
  const where = await agent.start();
  assert.ok(where.hold.startsWith(path.join(os.tmpdir(), 'fanfare-egg-')));
  await agent.process.stop();
  await gone(where.admin);
  assert.ok(!fs.existsSync(path.dirname(path.dirname(where.hold))), 'nothing stays there');
});

test('the run directory is emptied: the server goes on, and can be started again', async t => {
  const rundir = makeDir(t);
  const agent = makeAgent(rundir, 'a');
  const where = await agent.start();
  fs.rmSync(path.join(rundir, 'fanfare'), { recursive: true });
  await fetch(`${where.stream}/nothing-here`); // which Fanfare logs
  process.kill(agent.process.child.pid, 'SIGKILL');
  await until('it is started again', () => agent.states.length === 2);
  assert.notStrictEqual(agent.states[1].hold, where.hold);
  await agent.process.stop();
  await gone(where.admin);
});

test('without FIFOs the server ends with its agent, and the log says so', async t => {
  const agent = makeAgent(makeDir(t), 'a');
  const { PATH } = process.env;
  process.env.PATH = '/nowhere';
  const where = await agent.start().finally(() => { process.env.PATH = PATH; });
  assert.ok(agent.log.some(line => /Fanfare will end with the agent process, since it can't be left to the next one: .*mkfifo/.test(line)));
  assert.strictEqual(where.hold, null);
  await agent.process.stop();
  await gone(where.admin);
});

// Each prints or does what a program that is no Fanfare may.
for (const [ what, script, told ] of [
  [ 'ends at once', '#!/bin/sh\nexit 3\n', /Fanfare \(BINARY\) ended \(exit code 3\)/ ],
  [ 'logs the same messages without addresses', '#!/bin/sh\nfor m in streams "publish API"; do echo "{\\"msg\\":\\"$m\\"}" >&2; done\nexec sleep 60\n', /Fanfare \(BINARY\) is not ready after 500 ms/ ],
  [ 'is in a folder that is a file', null, /Fanfare can't be started: BINARY: .*ENOTDIR/ ],
]) {
  test(`another program that ${what}: the log names it, and the agent goes on`, async t => {
    const dir = makeDir(t);
    const file = path.join(dir, 'program');
    fs.writeFileSync(file, script || '', { mode: 0o700 });
    const program = script ? file : `${file}/fanfare`;
    const log = [];
    const write = (...args) => { log.push(format(...args)); };
    const settings = settingsWith();
    settings.server = { ...settings.server, start: { ...settings.server.start, binary: program, readyTimeout: 500, stopTimeout: 100 } };
    const agent = new FanfareProcess(settings, { error: write, warn: write, info: write }, new Lease({ rundir: dir, name: 'a' }), SECRETS, () => assert.fail('it is no Fanfare'));
    await agent.start();
    await until('the log tells of it', () => {
      if (log.some(line => told.test(line.replace(program, 'BINARY')))) return true;
      throw new Error(log.join('\n'));
    });
    await agent.stop();
  });
}

test('what a start has left whose processes were all killed is removed, what lives is not', t => {
  const rundir = makeDir(t);
  const [ dead, alive, young ] = [ 'dead', 'alive', 'young' ].map(name => new Lease({ rundir, name }));
  const readers = [ dead, alive ].map(lease => lease.begin());
  dead.record({});
  alive.record({});
  dead.release();
  fs.closeSync(readers[0]);
  const old = new Date(Date.now() - 3600000);
  for (const { dir } of [ dead, alive ]) fs.utimesSync(dir, old, old);
  const own = new Lease({ rundir, name: 'own' });
  assert.deepStrictEqual(fs.readdirSync(path.join(rundir, 'fanfare')).sort(), [ 'alive', 'own', 'young' ]);
  assert.strictEqual(own.find(), null);
  assert.ok(alive.find());
  fs.closeSync(readers[1]);
  assert.strictEqual(young.find(), null);
});

test('a log is read as lines, whatever is written at a time, and is cut before it grows', async t => {
  const file = path.join(makeDir(t), 'log');
  const lines = [];
  const tail = new LogTail(file, 0, line => lines.push(line));
  const out = fs.openSync(file, 'a');
  const wanted = [];
  for (let i = 0; i < 3000; i++) {
    wanted.push(`${i} ü ${'x'.repeat(500)}`);
    const bytes = Buffer.from(`${wanted.at(-1)}\n`);
    const cut = i % bytes.length;
    fs.writeSync(out, bytes.subarray(0, cut));
    if (i % 7 === 0) tail.read();
    fs.writeSync(out, bytes.subarray(cut));
  }
  await until('all lines', () => lines.length === wanted.length);
  assert.deepStrictEqual(lines, wanted);
  assert.ok(fs.statSync(file).size < 1024 * 1024);
  tail.close();
  fs.closeSync(out);
});
