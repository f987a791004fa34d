'use strict';

// The patterns of egg-sse's documentation: a messenger listener and a Redis subscription in every worker.
module.exports = app => {
  app.messenger.on('news', message => {
    app.sse.publish('messenger', { id: Math.random(), event: 'data', data: message });
  });
  // A message that one worker gets is that worker's alone.
  app.messenger.on('for-one', message => app.sse.publish('for-one', `${message}`));
  if (app.config.redis.port) {
    const Redis = require('ioredis');
    app.redis = new Redis(app.config.redis);
    app.subscriber = new Redis(app.config.redis);
    app.beforeClose(() => {
      app.redis.disconnect();
      app.subscriber.disconnect();
    });
    app.beforeStart(async () => {
      await app.subscriber.subscribe('news');
    });
    app.subscriber.on('message', (channel, message) => {
      app.sse.publish('redis', { id: Math.random(), event: 'data', data: message });
    });
  }
};
