'use strict';

// The start of a worker: when it takes requests.
const { test } = require('node:test');
const assert = require('node:assert');
const { EventEmitter } = require('events');
const AppBoot = require('../app');
const defaults = require('../config/config.default').sse;

// start begins a worker as Egg does, and returns what its start waits for.
function start(server) {
  const messenger = Object.assign(new EventEmitter(), { sendToApp() {}, sendToAgent() {}, onMessage() {} });
  const log = () => {};
  const app = Object.assign(new EventEmitter(), {
    use() {},
    config: { sse: { ...defaults, server: { ...defaults.server, ...server } } }, options: { workers: 1 }, messenger, router: { get() {} },
    coreLogger: { error: log, warn: log, info: log },
  });
  const boot = new AppBoot(app);
  boot.configDidLoad();
  const ready = { yet: false };
  ready.done = boot.willReady().then(() => { ready.yet = true; });
  return { app, boot, messenger, ready };
}

const turn = () => new Promise(resolve => setImmediate(resolve));

test('a worker takes requests when it knows where the application\'s own Fanfare is', async () => {
  const { app, boot, messenger, ready } = start({});
  await turn();
  assert.strictEqual(ready.yet, false);
  messenger.emit('sse-state', { leader: '1', admin: 'http://127.0.0.1:1', stream: 'http://127.0.0.1:2', token: 't', hold: null });
  await ready.done;
  assert.strictEqual(app.sse.streamUrl, 'http://127.0.0.1:2');
  await boot.beforeClose();
});

test('without an agent it takes them after readyTimeout', async () => {
  const { boot, ready } = start({ start: { ...defaults.server.start, readyTimeout: 100 } });
  await turn();
  assert.strictEqual(ready.yet, false);
  await ready.done;
  await boot.beforeClose();
});

test('it waits for nobody if the settings say where Fanfare is, or that there is none', async () => {
  for (const server of [ { admin: 'http://127.0.0.1:1', stream: 'http://127.0.0.1:2' }, { dryRun: true } ]) {
    const { boot, ready } = start(server);
    await turn();
    assert.strictEqual(ready.yet, true);
    await boot.beforeClose();
  }
});
