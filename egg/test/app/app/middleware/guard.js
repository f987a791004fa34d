'use strict';

// As applications decide who may subscribe: by the request's cookies and key.
module.exports = () => async function guard(ctx, next) {
  if (ctx.path === '/stream' && ctx.query.connectKey === 'private' && ctx.cookies.get('user', { signed: false }) !== 'alice') {
    ctx.status = 403;
    ctx.body = 'not for you';
    return;
  }
  // Ways in which middlewares refuse.
  if (ctx.path === '/stream') {
    switch (ctx.query.connectKey) {
      case 'guard: redirected': return ctx.redirect('/login');
      case 'guard: status 200': ctx.body = {}; return;
      case 'guard: status 204': ctx.status = 204; return;
      case 'guard: thrown': return ctx.throw(403);
      case 'guard: not found': return;
      case 'guard: busy': ctx.status = 503; return;
      case 'guard: afterwards': await next(); ctx.status = 403; return;
      case 'guard: wrapped': await next(); if (ctx.status < 300 && !ctx.body) ctx.body = { code: 0, data: ctx.body }; return;
      default:
    }
  }
  await next();
};
