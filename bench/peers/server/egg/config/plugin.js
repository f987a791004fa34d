'use strict';

// Egg's own plugins that this application doesn't use are off: each is work for every request.

exports.sse = { enable: true, package: 'egg-sse' };
exports.session = false;
exports.i18n = false;
exports.view = false;
exports.static = false;
exports.multipart = false;
exports.jsonp = false;
exports.logrotator = false;
exports.schedule = false;
exports.watcher = false;
exports.development = false;
exports.security = false;
