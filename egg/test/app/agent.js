'use strict';

module.exports = agent => {
  agent.messenger.on('pick-one', message => agent.messenger.sendRandom('for-one', message));
  agent.messenger.on('flood', n => {
    let i = 0;
    const timer = setInterval(() => {
      agent.messenger.sendToApp('news', String(i++));
      if (i === n) clearInterval(timer);
    }, 2);
  });
};
