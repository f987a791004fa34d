'use strict';

let n = 0;

module.exports = app => ({
  schedule: { interval: '300ms', type: 'all', disable: !app.config.schedules },
  async task(ctx) {
    ctx.app.sse.publish('schedule-all', { id: Math.random(), event: 'data', data: { tick: ++n, pid: process.pid } });
  },
});
