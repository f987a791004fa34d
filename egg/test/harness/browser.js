'use strict';

const fs = require('fs');
const path = require('path');
const puppeteer = require('puppeteer-core');
const { PATIENCE } = require('./wait');

/** Debian's Chromium, without a window. open() is a new page. */
async function startBrowser() {
  const executablePath = [ '/usr/bin/chromium', ...(process.env.PATH || '').split(':').map(dir => path.join(dir, 'chromium')) ].find(file => fs.existsSync(file));
  if (!executablePath) throw new Error('chromium is missing: run scripts/install.sh');
  const browser = await puppeteer.launch({
    executablePath, headless: true, args: [ '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage' ], timeout: PATIENCE, protocolTimeout: PATIENCE,
  });
  return {
    open: async () => {
      const page = await browser.newPage();
      page.setDefaultTimeout(PATIENCE);
      return page;
    },
    close: () => browser.close(),
  };
}

module.exports = { startBrowser };
