'use strict';

const path = require('path');

module.exports = info => ({
  keys: 'only-for-tests',
  logger: { dir: path.join(info.baseDir, 'logs'), consoleLevel: process.env.TEST_CONSOLE_LEVEL || 'NONE', level: 'INFO', coreLogger: { level: 'INFO' } },
  rundir: path.join(info.baseDir, 'run'),
  security: { csrf: { enable: false } },
  middleware: [ 'guard' ],
  sse: {
    enable: process.env.TEST_SSE_ENABLE !== 'off',
    maxClients: 3,
    pingInterval: 300,
    headers: { 'X-From': 'config' },
    // egg-sse does not look at this.
    server: { ...JSON.parse(process.env.TEST_SSE_SERVER || '{}'), ...(process.env.TEST_AUTHORIZE === 'function' && { authorize: require('../authorize') }) },
  },
  redis: { port: Number(process.env.TEST_REDIS_PORT) },
  schedules: process.env.TEST_SCHEDULES === 'on',
});
