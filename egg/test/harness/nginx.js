'use strict';

const fs = require('fs');
const os = require('os');
const path = require('path');
const { spawn } = require('child_process');
const net = require('net');
const { until } = require('./wait');
const { freePort } = require('./ports');

/** The nginx blocks of the README, as they stand there. */
function snippets() {
  const text = fs.readFileSync(path.join(__dirname, '../../README.md'), 'utf8');
  return [ ...text.matchAll(/^```nginx\n(.*?)^```$/gms) ].map(match => match[1]);
}

/**
 * Starts an nginx on a free port with one server, which is otherwise as nginx makes it by default.
 * @param {string} server text of the configuration, with `listen 80;`
 */
async function startNginx(server) {
  const program = [ '/usr/sbin', ...(process.env.PATH || '').split(':') ].map(dir => path.join(dir, 'nginx')).find(file => fs.existsSync(file));
  if (!program) throw new Error('nginx is missing: run scripts/install.sh');
  const dir = fs.mkdtempSync(path.join(fs.realpathSync(os.tmpdir()), 'fanfare-egg-nginx-'));
  const port = await freePort();
  const temporary = [ 'client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi' ].map(name => `${name}_temp_path ${dir}/${name};`);
  fs.writeFileSync(path.join(dir, 'nginx.conf'), `
${process.getuid() === 0 ? 'user root;' : ''}
daemon off;
worker_processes 1;
pid ${dir}/nginx.pid;
events { worker_connections 256; }
http {
    access_log off;
    ${temporary.join('\n    ')}
${server.replace('listen 80;', `listen 127.0.0.1:${port};`)}
}
`);
  const child = spawn(program, [ '-e', 'stderr', '-p', dir, '-c', path.join(dir, 'nginx.conf') ], { stdio: [ 'ignore', 'ignore', 'pipe' ] });
  let log = '';
  child.stderr.on('data', text => { log += text; });
  const exited = new Promise(resolve => child.once('close', resolve));
  await until('nginx listens', () => {
    if (child.exitCode !== null) throw new Error(log);
    return new Promise((resolve, reject) => {
      const socket = net.connect(port, '127.0.0.1', () => { socket.destroy(); resolve(true); });
      socket.once('error', reject);
    });
  });
  return {
    origin: `http://127.0.0.1:${port}`,
    log: () => log,
    stop: async () => {
      child.kill('SIGTERM'); // its worker goes with it
      await exited;
      fs.rmSync(dir, { recursive: true, force: true });
    },
  };
}

module.exports = { snippets, startNginx };
