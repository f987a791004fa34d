'use strict';

// Unit tests of applications need no server: events are checked and encoded, and not sent. To test with one, set dryRun to
// false in the application's own config.unittest.js.
module.exports = {
  sse: { server: { dryRun: true } },
};
