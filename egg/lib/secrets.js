'use strict';

const { hkdfSync, randomBytes } = require('crypto');

const BYTES = 32;

/**
 * The secrets of a Fanfare that the agent starts.
 *
 * They are derived from config.keys, with which Egg signs cookies. So tokens stay valid when the application is started again,
 * and on each host that it runs on; and if a key is put before the others to replace them, the tokens of before stay valid as
 * long as their key is in the list, as cookies do. Without config.keys the secrets are random, and last as long as this start
 * of the application.
 *
 * @param {object} config the application's
 * @return {{ tokens: string, ask: string, derived: boolean }} tokens: Fanfare's tokenSecret; ask: by which the application knows
 *   Fanfare's questions
 */
function secretsOf(config) {
  const keys = typeof config.keys === 'string' ? config.keys.split(',').map(key => key.trim()).filter(Boolean) : [];
  const ask = config.sse.server.callbackSecret;
  if (keys.length === 0) return { tokens: random(), ask: ask || random(), derived: false };
  return { tokens: keys.map(key => derive(key, 'tokens')).join(' '), ask: ask || derive(keys[0], 'questions'), derived: true };
}

function derive(key, purpose) {
  return Buffer.from(hkdfSync('sha256', key, '', `fanfare-egg, version 1: ${purpose}`, BYTES)).toString('hex');
}

const random = () => randomBytes(BYTES).toString('hex');

module.exports = { secretsOf };
