'use strict';

// Builds the server under test: node test/harness/build.js
const { execFileSync } = require('child_process');
const path = require('path');

const root = path.resolve(__dirname, '../../..');
const binary = path.join(__dirname, '../.bin/fanfare');

if (require.main === module) execFileSync('go', [ 'build', '-buildvcs=false', '-o', binary, './cmd/fanfare' ], { cwd: root, stdio: 'inherit' });

module.exports = { binary };
