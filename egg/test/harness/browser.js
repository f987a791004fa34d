'use strict';

const fs = require('fs');
const path = require('path');
const puppeteer = require('puppeteer-core');

/** Debian's Chromium, without a window. */
async function startBrowser() {
  const executablePath = [ '/usr/bin/chromium', ...(process.env.PATH || '').split(':').map(dir => path.join(dir, 'chromium')) ].find(file => fs.existsSync(file));
  if (!executablePath) throw new Error('chromium is missing: run scripts/install.sh');
  return puppeteer.launch({ executablePath, headless: true, args: [ '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage' ], protocolTimeout: 60000 });
}

module.exports = { startBrowser };
