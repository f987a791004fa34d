'use strict';

const { Controller } = require('egg');

// POST /publish?key=K with the data as the body. egg-sse itself has no such route.
class PublishController extends Controller {
  async create() {
    const { app, ctx } = this;
    const chunks = [];
    for await (const chunk of ctx.req) chunks.push(chunk);
    app.sse.publish(ctx.query.key, Buffer.concat(chunks).toString());
    ctx.body = '';
    ctx.status = 200;
  }
}

module.exports = PublishController;
