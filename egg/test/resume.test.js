'use strict';

// Events that are published while Fanfare is away, and browsers that come back after it.
const { test } = require('node:test');
const assert = require('node:assert');
const { startCluster } = require('./harness/application');
const { binary } = require('./harness/build');
const { startBrowser } = require('./harness/browser');
const { until } = require('./harness/wait');

test('by default a page gets what was published while Fanfare was away, before the page was back', async () => {
  const application = await startCluster({ version: 'egg4', plugin: 'fanfare-egg', workers: 2, server: { start: { binary }, uncertain: 'resend' } }); // a request may meet the kill
  const browser = await startBrowser();
  try {
    const page = await browser.open();
    await page.goto(`${application.origin}/?key=page`);
    const seen = () => page.evaluate('seen');
    await until('the stream is open', async () => (await seen()).includes('open'));
    await application.callAndWait('publish', 'page', 'one');
    await until('the first event', async () => (await seen()).includes('message one'));
    process.kill(Number(/started Fanfare: .* pid (\d+)/.exec(application.log())[1]), 'SIGKILL');
    // An event with an id of its own (README's Math.random()) and others.
    const results = await Promise.all([ 'two', 'three', { event: 'data', data: 'four', id: 0.4 } ].map(data => application.callAndWait('publish', 'page', data)));
    for (const { result, error } of results) assert.ok(result && result.sent, JSON.stringify(error));
    await until('the page has what it missed', async () => {
      const all = await seen();
      return [ 'message two', 'message three', 'data four' ].every(text => all.includes(text));
    });
    await application.callAndWait('publish', 'page', 'five');
    await until('the last event', async () => (await seen()).includes('message five'));
    const events = (await seen()).filter(text => /^(message|data) ./.test(text));
    assert.deepStrictEqual(events.slice().sort(), [ 'data four', 'message five', 'message one', 'message three', 'message two' ]);
  } finally {
    await browser.close();
    assert.strictEqual(await application.stop(), 0);
  }
});
