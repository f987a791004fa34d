'use strict';

const { randomBytes } = require('crypto');
const { isMainThread } = require('worker_threads');
const { settingsOf, strangers } = require('./lib/settings');
const { FanfareProcess } = require('./lib/fanfare_process');
const { Lease } = require('./lib/lease');
const { Chair } = require('./lib/chair');
const { AdminClient } = require('./lib/admin_client');
const { Access } = require('./lib/access');
const { secretsOf } = require('./lib/secrets');
const { callbackUrl } = require('./lib/authorization');
const { printable } = require('./lib/reporter');

// startOf names this start of the application: the name is the same in each agent that the master starts.
function startOf(agent) {
  const { clusterPort } = agent.options;
  const byMaster = clusterPort && (process.send || !isMainThread);
  return byMaster ? `${isMainThread ? process.ppid : process.pid}-${clusterPort}` : `${process.pid}-${randomBytes(6).toString('hex')}`;
}

class AgentBoot {
  constructor(agent) {
    this.agent = agent;
  }

  configDidLoad() {
    const { agent } = this;
    if (agent.config.sse?.enable === false) return;
    const settings = settingsOf(agent.config.sse);
    const unknown = strangers(agent.config.sse);
    if (unknown.length > 0) agent.coreLogger.warn('[fanfare-egg] no settings of config.sse, and without effect: %s', printable(unknown.join(', ')));
    const { admin, token, timeout } = settings.server;
    const client = this.client = new AdminClient({ url: settings.own ? null : admin, token, timeout });
    const access = new Access(settings, client);
    agent.sse = {
      token: (keys, options) => access.token(keys, options),
      disconnect: subject => access.disconnect(subject),
      presence: key => access.presence(key),
    };
    let where = {};
    // send, not sendToApp, which warns until all workers have started: starting workers need these messages, too.
    const tell = () => agent.messenger.send('sse-state', { leader: this.chair.leader, ...where }, 'app');
    this.chair = new Chair(tell);
    agent.messenger.on('sse-hello', worker => {
      this.chair.hello(worker);
      tell();
    });
    agent.messenger.on('egg-pids', pids => this.chair.pids(pids.map(String)));
    if (settings.watches) {
      const secrets = secretsOf(agent.config);
      if (settings.starts && ![ false, 'tokens' ].includes(settings.server.authorize)) secrets.callback = callbackUrl(settings, agent.config, agent.options, secrets.ask);
      if (settings.starts && settings.server.authorize !== false && !secrets.derived) {
        agent.coreLogger.warn('[fanfare-egg] config.keys is not set: the tokens of app.sse.token end with this start of the application');
      }
      try {
        const lease = settings.starts ? new Lease({ rundir: agent.config.rundir, name: startOf(agent) }) : null;
        this.fanfare = new FanfareProcess(settings, agent.coreLogger, lease, secrets, at => {
          where = at;
          client.use(at.admin, at.token);
          tell();
        });
      } catch (err) {
        agent.coreLogger.error('[fanfare-egg] Fanfare can\'t be started: %s', err.message);
      }
    }
  }

  // Workers start after this: with a server that is ready, if there can be one.
  async willReady() {
    if (this.fanfare) await this.fanfare.start();
  }

  async beforeClose() {
    if (this.fanfare) await this.fanfare.stop();
    if (this.client) this.client.close();
  }
}

module.exports = AgentBoot;
