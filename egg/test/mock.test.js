'use strict';

// Applications under egg-mock, in this process: as their unit tests run.
const { test } = require('node:test');
const assert = require('node:assert');
const { VERSIONS } = require('./harness/application');
const { mockApplication } = require('./harness/mock');
const { startFanfare } = require('./harness/fanfare');
const { subscribe } = require('./harness/subscriber');

for (const version of VERSIONS) {
  test(`${version}: without a server, in dryRun`, async () => {
    const { app, close } = await mockApplication({ version, dryRun: true });
    assert.deepStrictEqual(await app.sse.publish('k', 'x'), { sent: false, reason: 'server.dryRun is set' });
    assert.strictEqual(app.sse.count('k') + app.sse.countAll() + await app.sse.countAsync('k') + await app.sse.countAllAsync(), 0);
    // Outside of a request a wrong call rejects: thrown in a timer, it would end the process.
    await assert.rejects(app.sse.publish('k', { id: 'a\n' }), { name: 'TypeError', field: 'id' });
    await app.httpRequest().post('/call/publish').send([ 'k', 'x' ]).expect(200);
    const res = await app.httpRequest().get('/stream?connectKey=k').expect(200).expect('Content-Type', /^text\/event-stream/);
    assert.match(res.text || String(res.body), /^: the stream server is away\nretry: \d+\n\n$/);
    await app.httpRequest().get('/elsewhere').expect(404).expect('nothing here');
    assert.strictEqual(app.sse.stats.left, 2);
    await close();
  });

  test(`${version}: with a server`, async () => {
    const fanfare = await startFanfare({ args: [ '--ids', 'off' ] });
    const { app, close } = await mockApplication({ version, server: { admin: fanfare.admin, stream: fanfare.stream } });
    const client = await subscribe(fanfare.stream, 'k');
    // One process alone leads, whatever the origin.
    await app.httpRequest().post('/call/publish').send([ 'k', 'by a request' ]).expect(200);
    await app.sse.flush();
    assert.strictEqual((await app.sse.publish('k', 'by a test')).subscribers, 1);
    await app.sse.publishAll({ event: 'e', data: 'to all' });
    await client.saw('to all');
    assert.deepStrictEqual(client.events, [ 'by a request', 'by a test', 'to all' ]);
    assert.strictEqual((await app.sse.close('k')).closed, 1);
    client.close();
    const { sse } = app;
    await close();
    await assert.rejects(sse.publish('k', 'x'), { code: 'ERR_SSE_CLOSED' });
    await fanfare.stop();
  });

  test(`${version}: enable: false leaves nothing behind`, async () => {
    process.env.TEST_SSE_ENABLE = 'off';
    try {
      const { app, close } = await mockApplication({ version, dryRun: true });
      assert.strictEqual(app.sse, undefined);
      await app.httpRequest().get('/stream').expect(404);
      await close();
    } finally {
      delete process.env.TEST_SSE_ENABLE;
    }
  });
}
// The process ends by itself now: nothing of the plugin is left. egg-sse's timer would keep it.
