'use strict';

const { Controller } = require('egg');

const wrong = require('../../wrong');

module.exports = class CallController extends Controller {
  // POST /call/publish with the arguments as a JSON list: calls app.sse.publish.
  async run() {
    const { app, ctx } = this;
    const args = ctx.request.body;
    let result;
    let type;
    let error;
    try {
      result = app.sse[ctx.params.method](...args);
      type = typeof result;
      if (ctx.query.wait) result = await result;
    } catch (err) {
      error = { name: err.name, message: err.message, code: err.code, field: err.field };
    }
    ctx.body = { type, result: result instanceof Promise ? null : result, error, pid: process.pid };
  }

  // POST /agent/ACTION: a message to the agent.
  async agent() {
    this.app.messenger.sendToAgent(this.ctx.params.action, this.ctx.request.body);
    this.ctx.body = {};
  }

  // GET /login?user=NAME: a session.
  async login() {
    this.ctx.session.user = this.ctx.query.user;
    this.ctx.body = 'welcome';
  }

  // GET /token?key=KEY&ttl=TIME: what a page is given.
  async token() {
    const { app, ctx } = this;
    ctx.body = await app.sse.token(ctx.query.key, { subject: ctx.session.user, ttl: ctx.query.ttl });
  }

  async message() {
    this.app.messenger.sendToApp('news', this.ctx.request.body.text);
    this.ctx.body = {};
  }

  async messageOne() {
    this.app.messenger.sendToAgent('pick-one', this.ctx.request.body.text);
    this.ctx.body = {};
  }

  async stats() {
    this.ctx.body = this.app.sse.stats;
  }

  // GET /flood?from=0&n=N: the agent sends messages 0, 1, 2, … N-1 to all workers, one each 2 ms.
  async flood() {
    const { from = 0, n } = this.ctx.query;
    this.app.messenger.sendToAgent('flood', { from: Number(from), n: Number(n) });
    this.ctx.body = '';
    this.ctx.status = 200;
  }

  // POST /queue with a list of jobs: the workers share them.
  async queue() {
    await this.app.redis.rpush('jobs', ...this.ctx.request.body);
    this.ctx.body = {};
  }

  // POST /later: publishes after the response.
  async later() {
    const { app, ctx } = this;
    const { text } = ctx.request.body;
    ctx.body = {};
    setTimeout(() => app.sse.publish('later', text), 50);
  }

  async locked() {
    await this.app.redis.publish('locked', String(this.ctx.request.body.n));
    this.ctx.body = {};
  }

  // POST /send/ACTION: a message to all workers.
  async send() {
    this.app.messenger.sendToApp(this.ctx.params.action, this.ctx.request.body.data);
    this.ctx.body = {};
  }

  // POST /wrong/NAME: a mistake within a request.
  async wrong() {
    const name = this.ctx.params.name;
    try {
      await wrong[name](this.app.sse);
      this.ctx.body = { thrown: false };
    } catch (err) {
      this.ctx.body = { thrown: true, message: err.message };
    }
  }

  async redis() {
    await this.app.redis.publish('news', this.ctx.request.body.text);
    this.ctx.body = {};
  }
};
