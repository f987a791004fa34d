'use strict';

// For programs that want more than app.sse: the encoder, and the errors that a publish may end in.
const { encode } = require('./lib/encode');
const { SseError } = require('./lib/errors');

module.exports = { encode, SseError };
