'use strict';

const path = require('path');
const { createRequire } = require('module');
const { makeApplication, patient } = require('./application');

/** Runs the application in this process by egg-mock. */
async function mockApplication({ version, plugin = 'fanfare-egg', server = {}, dryRun = false }) {
  const { dir, remove } = makeApplication(version, plugin);
  process.env.NODE_ENV = 'test'; // as egg-bin does: Egg's environment is then unittest
  process.env.TEST_SSE_SERVER = JSON.stringify(patient(server));
  process.env.TEST_SSE_DRY_RUN = dryRun ? 'on' : 'off';
  const require = createRequire(path.join(dir, 'app.js'));
  const mock = version === 'egg4' ? require('@eggjs/mock') : require('egg-mock');
  const app = (mock.default || mock).app({ baseDir: dir, framework: path.join(dir, 'node_modules/egg'), cache: false, plugin: false });
  await app.ready();
  return {
    app,
    close: async () => {
      await app.close();
      remove();
    },
  };
}

module.exports = { mockApplication };
