'use strict';

// As an application does whose unit tests are to talk to a real Fanfare.
exports.sse = { server: { dryRun: process.env.TEST_SSE_DRY_RUN === 'on' } };
