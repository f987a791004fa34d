'use strict';

const { createHash } = require('crypto');

/**
 * The application's settings as environment variables for a Fanfare that is started. Flags in start.args override them.
 * @param {object} settings from settingsOf
 * @param {{ admin: string, stream: string } | null} where it was before, if it is started again
 * @param {string} token of its publish API
 * @param {{ tokens: string, callback: string } | null} secrets for sse.server.authorize
 */
function fanfareEnvironment(settings, where, token, secrets) {
  const { server } = settings;
  const env = {
    ...process.env,
    FANFARE_LISTEN: addressOf(server.stream, where && where.stream),
    FANFARE_ADMIN: addressOf(server.admin, where && where.admin),
    FANFARE_PUBLISH_TOKEN: token,
    FANFARE_PATH: settings.path,
    FANFARE_HEADERS: Object.entries(settings.headers).filter(field => !isDefault(field)).map(([ name, value ]) => `${name}: ${value}`).join('\n'),
    FANFARE_CACHE_KEY: settings.cacheKey,
    FANFARE_PING_INTERVAL: String(settings.pingInterval),
    FANFARE_MAX_CLIENTS: String(settings.maxClients),
    FANFARE_IDS: server.start.ids,
    FANFARE_STDIN_STOPS: 'true',
    FANFARE_DRAIN_TIMEOUT: `${server.start.stopTimeout}ms`,
    FANFARE_LOG_LEVEL: 'info',
    FANFARE_LOG_FORMAT: 'json',
  };
  if (settings.path === '/') env.FANFARE_PAGE = 'false';
  if (server.authorize !== false && secrets) {
    env.FANFARE_TOKEN_SECRET = process.env.FANFARE_TOKEN_SECRET || secrets.tokens;
    if (server.authorize !== 'tokens') env.FANFARE_AUTH_CALLBACK = secrets.callback;
  }
  return env;
}

// isDefault names a field that Fanfare sends by itself: set, it would contradict allowedOrigins.
function isDefault([ name, value ]) {
  return name.toLowerCase() === 'access-control-allow-origin' && value === '*';
}

// addressOf returns the address to listen on: with port 0 the previous port, if there is one.
function addressOf(url, before) {
  const { hostname, port, protocol } = new URL(url);
  const own = port === '0' && before ? new URL(before).port : port;
  return `${hostname}:${own || (protocol === 'https:' ? 443 : 80)}`;
}

/**
 * Identifies the settings with which a Fanfare is started: with other settings it must be started again. Random secrets are not
 * among them: each agent would have its own.
 */
function fingerprint(settings, secrets) {
  const { server } = settings;
  const variables = Object.entries(fanfareEnvironment(settings, null, server.token, secrets.derived ? secrets : null)).filter(([ name ]) => name.startsWith('FANFARE_')).sort();
  return createHash('sha1').update(JSON.stringify([ variables, server.authorize === false || server.authorize === 'tokens' ? server.authorize : true, server.start.binary, server.start.args ])).digest('base64');
}

module.exports = { fanfareEnvironment, fingerprint };
