'use strict';

// Applications as `egg-scripts start --daemon` runs them, with and without the program fanfare.
const { test } = require('node:test');
const assert = require('node:assert');
const path = require('path');
const { execFile } = require('child_process');
const { makeApplication, patient } = require('./harness/application');
const { binary } = require('./harness/build');
const { subscribe, Subscriber } = require('./harness/subscriber');
const { until, PATIENCE } = require('./harness/wait');
const { freePort } = require('./harness/ports');

async function makeScripts(t, env) {
  const { dir, modules, remove } = makeApplication('egg2', 'fanfare-egg');
  const title = path.basename(dir);
  const port = await freePort();
  const run = (...args) => new Promise(resolve => {
    const options = { cwd: dir, timeout: 2 * PATIENCE, env: { ...process.env, EGG_SERVER_ENV: 'prod', HOME: dir, MOCK_HOME_DIR: dir, TEST_SSE_SERVER: JSON.stringify(patient({})), TEST_CONSOLE_LEVEL: 'INFO', ...env } };
    execFile(process.execPath, [ path.join(modules, 'egg-scripts/bin/egg-scripts.js'), ...args ], options, (err, stdout, stderr) => resolve({ code: err ? err.code || err.signal : 0, text: stdout + stderr }));
  });
  const stop = () => run('stop', `--title=${title}`);
  t.after(async () => {
    await stop();
    remove();
  });
  return { origin: `http://127.0.0.1:${port}`, start: (...more) => run('start', '--daemon', `--port=${port}`, '--workers=1', `--timeout=${PATIENCE}`, `--title=${title}`, `--stdout=${dir}/stdout.log`, `--stderr=${dir}/stderr.log`, ...more), stop };
}

test('with the program it starts and stops', async t => {
  const scripts = await makeScripts(t, { EGG_FANFARE_BIN: binary });
  const { code, text } = await scripts.start();
  assert.strictEqual(code, 0, text);
  const client = await subscribe(scripts.origin, 'k');
  const res = await fetch(`${scripts.origin}/call/publish?wait=1`, { method: 'POST', headers: { 'Content-Type': 'application/json', Connection: 'close' }, body: '["k","x"]' });
  assert.strictEqual((await res.json()).result.subscribers, 1);
  await client.saw('x');
  assert.strictEqual((await scripts.stop()).code, 0);
  await until('the stream has ended', () => client.ended);
});

test('without the program it says what to do, and gives up', async t => {
  // egg-scripts looks each second: it goes on if the application is ready before.
  const scripts = await makeScripts(t, { EGG_FANFARE_BIN: '/nowhere/fanfare', TEST_SLOW_START: '6000' });
  const { code, text } = await scripts.start();
  assert.strictEqual(code, 1, text);
  assert.match(text, /Fanfare can't be started: \/nowhere\/fanfare: no such program\. Build it .*go build.*--ignore-stderr/);
});

test('without the program, with --ignore-stderr, it runs, and tells pages to come back', async t => {
  const scripts = await makeScripts(t, { EGG_FANFARE_BIN: '/nowhere/fanfare' });
  const { code, text } = await scripts.start('--ignore-stderr');
  assert.strictEqual(code, 0, text);
  const client = await until('the application answers', async () => new Subscriber(scripts.origin, '/stream?connectKey=k').opened());
  await until('a time to come back', () => /^: the stream server is away\nretry: \d+\n\n$/.test(client.text));
  client.close();
});
