'use strict';

module.exports = agent => {
  agent.messenger.on('pick-one', message => agent.messenger.sendRandom('for-one', message));
  agent.messenger.on('flood', ({ from, n }) => {
    let i = from;
    const timer = setInterval(() => {
      agent.messenger.sendToApp('news', String(i++));
      if (i === from + n) clearInterval(timer);
    }, 2);
  });
};
