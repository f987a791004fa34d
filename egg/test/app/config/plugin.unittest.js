'use strict';

// The first two watch files, the others have schedules, and none of them ever stops: with them no process of a test ends
// by itself.
exports.watcher = false;
exports.development = false;
exports.logrotator = false;
exports.multipart = false;
