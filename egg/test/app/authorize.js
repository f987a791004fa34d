'use strict';

const fs = require('fs');
const path = require('path');

// sse.server.authorize of the tests: by the session, as an application would do it.
module.exports = async function authorize(ctx, keys) {
  if (fs.existsSync(path.join(ctx.app.baseDir, 'busy'))) throw new Error('the database is away');
  if (keys.includes('mistake')) return undefined;
  const { user } = ctx.session;
  if (!user) ctx.throw(401);
  if (keys.includes('part')) return { keys: [ 'news' ] };
  if (!keys.every(key => key === 'news' || key.startsWith(`user.${user}.`))) return false;
  return { subject: user, ...(keys.includes('news') && { cache: '1s' }) };
};
