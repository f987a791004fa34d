'use strict';

module.exports = app => {
  const { home, call } = app.controller;
  app.get('/', home.page);
  app.get('/pid', home.pid);
  app.get('/node', home.node);
  app.get('/memory', home.memory);
  app.get('/stats', call.stats);
  app.get('/flood', call.flood);
  app.post('/call/:method', call.run);
  app.post('/message', call.message);
  app.post('/message-one', call.messageOne);
  app.post('/redis', call.redis);
  app.post('/queue', call.queue);
  app.post('/agent/:action', call.agent);
  app.get('/login', call.login);
  app.get('/token', call.token);
  app.post('/later', call.later);
  app.post('/locked', call.locked);
  app.post('/send/:action', call.send);
  app.post('/wrong/:name', call.wrong);
  app.get('/*', home.none); // egg-sse's route comes before it
};
