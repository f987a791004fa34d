'use strict';

const path = require('path');

// Settings: egg-sse's defaults, except for more subscribers on a key (20,000 instead of 10,000). Egg's default configuration, with
// logs off, no body parser (the data of an event is read unchanged), and its files in the folder that FANFARE_PEER_DIR names.
module.exports = appInfo => {
  const dir = process.env.FANFARE_PEER_DIR || appInfo.baseDir;
  return {
    keys: 'fanfare-peer',
    rundir: path.join(dir, 'run'),
    logger: { dir: path.join(dir, 'logs'), level: 'NONE', consoleLevel: 'NONE', disableConsoleAfterReady: true },
    bodyParser: { enable: false },
    sse: { maxClients: 20000 },
  };
};
