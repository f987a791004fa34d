'use strict';

module.exports = agent => {
  agent.messenger.on('pick-one', message => agent.messenger.sendRandom('for-one', message));
};
