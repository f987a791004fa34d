'use strict';

const fs = require('fs');
const path = require('path');

const dir = path.join(__dirname, '../node');
const { optionalDependencies } = JSON.parse(fs.readFileSync(path.join(dir, 'package.json'), 'utf8'));
const PACKAGE = /^node-([\d.]+)-(.+)$/;

/** The versions of Node.js in test/node, the oldest first. */
const NODES = [ ...new Set(Object.keys(optionalDependencies).map(name => PACKAGE.exec(name)[1])) ];

/**
 * The program of a version of Node.js, for this system and processor. npm has installed it, if there is one.
 * @return {string} its path
 */
function nodeProgram(version) {
  const machine = `${process.platform}-${process.arch}`;
  const name = `node-${version}-${machine}`;
  if (!optionalDependencies[name]) {
    const known = Object.keys(optionalDependencies).map(n => PACKAGE.exec(n)).filter(m => m[1] === version).map(m => m[2]);
    throw new Error(`Node.js ${version}: test/node/package.json has none for ${machine}, only for ${known.join(', ')}: add the package of npm that has it, or run these tests on another machine`);
  }
  const file = path.join(dir, 'node_modules', name, 'bin/node');
  // npm skips an optional package that it cannot fetch, and reports the installation as complete.
  if (!fs.existsSync(file)) throw new Error(`${file} is missing: remove test/node/node_modules and run scripts/install.sh`);
  return file;
}

module.exports = { NODES, nodeProgram };
