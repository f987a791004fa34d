'use strict';

// As applications decide who may subscribe: by the request's cookies and key.
module.exports = () => async function guard(ctx, next) {
  if (ctx.path === '/stream' && ctx.query.connectKey === 'private' && ctx.cookies.get('user', { signed: false }) !== 'alice') {
    ctx.status = 403;
    ctx.body = 'not for you';
    return;
  }
  await next();
};
