'use strict';

const fs = require('fs');

module.exports = agent => {
  agent.messenger.on('make-token', async ({ key, file }) => {
    fs.writeFileSync(file, JSON.stringify({ ...await agent.sse.token(key, { subject: 'agent' }), ...await agent.sse.presence(key) }));
  });
  agent.messenger.on('pick-one', message => agent.messenger.sendRandom('for-one', message));
  agent.messenger.on('flood', ({ from, n }) => {
    let i = from;
    const timer = setInterval(() => {
      agent.messenger.sendToApp('news', String(i++));
      if (i === from + n) clearInterval(timer);
    }, 2);
  });
};
