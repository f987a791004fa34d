'use strict';

// The first two watch files, the third has schedules, and none ever stops: with them no process of a test ends by itself
exports.watcher = false;
exports.development = false;
exports.logrotator = false;
