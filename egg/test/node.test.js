'use strict';

// Other versions of Node.js than the machine's: the oldest that the plugin supports, and those that live. The tests of its
// parts run on each, and a real application on the oldest and the newest.
const { test } = require('node:test');
const assert = require('node:assert');
const path = require('path');
const { execFile } = require('child_process');
const { VERSIONS, startCluster } = require('./harness/application');
const { binary } = require('./harness/build');
const { NODES, nodeProgram } = require('./harness/nodes');
const { subscribe } = require('./harness/subscriber');
const { until, PATIENCE } = require('./harness/wait');

const PARTS = [ 'once', 'failure', 'vectors' ];

// run resolves if the test file passes.
function run(program, file) {
  return new Promise((resolve, reject) => {
    execFile(program, [ file ], { timeout: 4 * PATIENCE, killSignal: 'SIGKILL', maxBuffer: 64 * 1024 * 1024 }, (err, stdout, stderr) => {
      if (err) reject(new Error(`${path.basename(file)}: ${err.signal || `exit status ${err.code}`}\n${stderr}${stdout}`));
      else resolve();
    });
  });
}

// Applications run at the corners of the matrix, the oldest and the newest Node.js with the oldest and the newest Egg; in the long
// form everywhere.
const [ oldest, newest ] = [ NODES[0], NODES.at(-1) ];
const versionsFor = node => (node === oldest || node === newest || process.env.TEST_LONG ? VERSIONS : []);

for (const node of NODES) {
  test(`Node.js ${node}: the plugin's parts`, async () => {
    await Promise.all(PARTS.map(name => run(nodeProgram(node), path.join(__dirname, `${name}.test.js`))));
  });

  for (const version of versionsFor(node)) {
    test(`Node.js ${node}, ${version}: an application with two workers, and its own server`, async () => {
      const application = await startCluster({
        version, node: nodeProgram(node), plugin: 'fanfare-egg', workers: 2,
        server: { admin: 'http://127.0.0.1:0', stream: 'http://127.0.0.1:0', start: { binary } },
      });
      try {
        await application.pids(2);
        assert.strictEqual(await (await fetch(`${application.origin}/node`)).text(), `v${node}`);
        const clients = [ await subscribe(application.origin, 'messenger'), await subscribe(application.origin, 'messenger') ];
        for (let i = 0; i < 10; i++) await application.post('/message', { text: `message ${i}` });
        assert.strictEqual((await application.callAndWait('publish', 'messenger', 'by a request')).result.subscribers, 2);
        await application.post('/message', { text: 'last' });
        for (const c of clients) {
          await c.saw('last');
          assert.deepStrictEqual(c.events.filter(data => data.startsWith('message')).sort(), [ ...Array(10).keys() ].map(i => `message ${i}`));
          assert.strictEqual(c.events.length, 12);
        }
        assert.strictEqual((await application.callAndWait('countAsync', 'messenger')).result, 2);
        assert.strictEqual((await application.call('publish', 'k', { id: 'a\n' })).error.field, 'id');
        assert.strictEqual((await application.callAndWait('close', 'messenger')).result.closed, 2);
        for (const c of clients) await until('the stream ends', () => c.raw.includes('\r\n0\r\n\r\n'));
        for (const c of clients) c.close();
      } finally {
        assert.strictEqual(await application.stop(), 0);
      }
    });
  }
}
