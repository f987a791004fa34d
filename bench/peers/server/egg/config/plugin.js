'use strict';

// Egg's own plugins that this application does not use are off, because each costs time on every request.

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
