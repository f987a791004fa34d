'use strict';

let n = 0;

module.exports = app => ({
  schedule: { interval: '300ms', type: 'worker', disable: !app.config.schedules },
  async task(ctx) {
    ctx.app.sse.publish('schedule-worker', { id: Math.random(), event: 'data', data: { tick: ++n, pid: process.pid } });
  },
});
