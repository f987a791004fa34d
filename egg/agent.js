'use strict';

const { settingsOf } = require('./lib/settings');
const { FanfareProcess } = require('./lib/fanfare_process');
const { Chair } = require('./lib/chair');

class AgentBoot {
  constructor(agent) {
    this.agent = agent;
  }

  configDidLoad() {
    const { agent } = this;
    if (agent.config.sse.enable === false) return;
    const settings = settingsOf(agent.config.sse);
    let where = {};
    // send and not sendToApp, which warns until all workers have started: these messages are for starting workers too.
    const tell = () => agent.messenger.send('sse-state', { leader: this.chair.leader, ...where }, 'app');
    this.chair = new Chair(tell);
    agent.messenger.on('sse-hello', worker => {
      this.chair.hello(worker);
      tell();
    });
    agent.messenger.on('egg-pids', pids => this.chair.pids(pids.map(String)));
    if (settings.watches) {
      this.fanfare = new FanfareProcess(settings, agent.coreLogger, at => {
        where = at;
        tell();
      });
    }
  }

  // Workers start when this is done: with a server that is ready, if there can be one.
  async willReady() {
    if (this.fanfare) await this.fanfare.start();
  }

  async beforeClose() {
    if (this.fanfare) await this.fanfare.stop();
  }
}

module.exports = AgentBoot;
