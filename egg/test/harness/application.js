'use strict';

const fs = require('fs');
const os = require('os');
const path = require('path');
const { fork } = require('child_process');
const { until, PATIENCE } = require('./wait');
const { freePort } = require('./ports');

// The versions of Egg, and why: the oldest that is promised, the one between (its loader and its types are Egg 2's), and the
// newest, which is made anew. The one between is in the long form only (FANFARE_LONG, which run.js hands on as TEST_LONG).
const VERSIONS = process.env.TEST_LONG ? [ 'egg2', 'egg3', 'egg4' ] : [ 'egg2', 'egg4' ];

// Nothing in a test may run out of time because the machine is busy: a test about a limit sets it itself.
const PATIENT = {
  timeout: PATIENCE,
  queue: { maxAge: PATIENCE },
  once: { wait: PATIENCE, keep: 60000, skew: 3000 },
  start: { readyTimeout: PATIENCE },
};

/** Settings of config.sse.server on top of PATIENT. */
function patient(server) {
  const merged = { ...PATIENT, ...server };
  for (const part of [ 'queue', 'once', 'start' ]) merged[part] = { ...PATIENT[part], ...server[part] };
  return merged;
}

/**
 * Makes a copy of the application in test/app that runs with a version of Egg, and has one line changed if the plugin is
 * ours.
 * @return {{ dir: string, remove: () => void }}
 */
function makeApplication(version, plugin) {
  const dir = fs.mkdtempSync(path.join(fs.realpathSync(os.tmpdir()), `fanfare-egg-${version}-`));
  fs.cpSync(path.join(__dirname, '../app'), dir, { recursive: true });
  const modules = path.join(__dirname, '..', version, 'node_modules');
  if (!fs.existsSync(path.join(modules, 'egg'))) throw new Error(`${modules} is missing: run scripts/install.sh`);
  fs.symlinkSync(modules, path.join(dir, 'node_modules'));
  fs.writeFileSync(path.join(dir, 'package.json'), JSON.stringify({ name: 'application', private: true }));
  const file = path.join(dir, 'config/plugin.js');
  fs.writeFileSync(file, fs.readFileSync(file, 'utf8').replace("package: 'egg-sse'", `package: '${plugin}'`));
  return { dir, modules, remove: () => fs.rmSync(dir, { recursive: true, force: true, maxRetries: 20 }) }; // killed processes may still be writing
}

/**
 * Runs the application in Egg's cluster mode.
 * @param {object} options
 * @param {string} options.version egg2, egg3 or egg4
 * @param {string} options.plugin egg-sse or fanfare-egg
 * @param {number} options.workers
 * @param {object} [options.server] config.sse.server
 * @param {object} [options.env]
 * @param {object} [options.cluster] more of startCluster's options
 * @param {(dir: string) => void} [options.prepare] changes the copy of the application before it starts
 * @param {string} [options.node] the program to run it with, if not the tests' own
 */
async function startCluster({ version, plugin, workers, server = {}, env = {}, cluster = {}, prepare = () => {}, node = process.execPath }) {
  const { dir, remove } = makeApplication(version, plugin);
  prepare(dir);
  const port = cluster.port || await freePort();
  const child = fork(path.join(__dirname, 'start_cluster.js'), [ JSON.stringify({ baseDir: dir, workers, port, ...cluster }) ], {
    cwd: dir,
    execPath: node,
    execArgv: [], // not those of the tests: an older Node.js does not know them
    stdio: [ 'ignore', 'pipe', 'pipe', 'ipc' ],
    env: { ...process.env, EGG_SERVER_ENV: 'prod', NODE_ENV: 'production', EGG_MASTER_CLOSE_TIMEOUT: String(PATIENCE), HOME: dir, TEST_SSE_SERVER: JSON.stringify(patient(server)), ...env },
  });
  const application = { dir, child, port, origin: `http://127.0.0.1:${port}`, output: '' };
  for (const stream of [ child.stdout, child.stderr ]) stream.on('data', text => { application.output += text; });
  application.exited = new Promise(resolve => child.once('exit', code => resolve(code)));
  let ready = false;
  child.on('message', message => { if (message && message.ready) ready = true; });
  const log = () => {
    let text = application.output;
    for (const name of fs.existsSync(path.join(dir, 'logs')) ? fs.readdirSync(path.join(dir, 'logs'), { recursive: true }) : []) {
      const file = path.join(dir, 'logs', name);
      if (fs.statSync(file).isFile() && !/schedule/.test(file)) text += fs.readFileSync(file, 'utf8');
    }
    return text;
  };
  const tail = () => log().slice(-4000);
  application.log = log;
  application.stop = async (signal = 'SIGTERM') => {
    if (child.exitCode === null && child.signalCode === null) child.kill(signal);
    const code = await application.exited;
    remove();
    return code;
  };
  try {
    await until(`${version} with ${plugin} is ready`, () => ready || child.exitCode !== null);
    if (!ready) throw new Error(`${version} with ${plugin} has ended: exit code ${child.exitCode}`);
  } catch (err) {
    err.message += `\n${tail()}`;
    await application.stop('SIGKILL');
    throw err;
  }
  application.post = async (target, body) => {
    const res = await fetch(application.origin + target, { method: 'POST', headers: { 'Content-Type': 'application/json', Connection: 'close' }, body: JSON.stringify(body) });
    const text = await res.text();
    if (res.status !== 200) throw new Error(`POST ${target}: ${res.status} ${text}\n${tail()}`);
    return JSON.parse(text);
  };
  application.call = (method, ...args) => application.post(`/call/${method}`, args);
  application.callAndWait = (method, ...args) => application.post(`/call/${method}?wait=1`, args);
  // Connections go to the workers in turn: this asks until as many as are wanted have answered.
  application.pids = async n => {
    const pids = new Set();
    await until(`${n} workers`, async () => {
      pids.add(Number(await (await fetch(`${application.origin}/pid`, { headers: { Connection: 'close' } })).text()));
      return pids.size >= n;
    });
    return [ ...pids ];
  };
  return application;
}

module.exports = { VERSIONS, patient, makeApplication, startCluster };
