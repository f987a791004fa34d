'use strict';

// One Egg application in one process (egg's single-process mode). egg-sse's publish reaches only the subscribers of its own
// worker, so only a single worker delivers everything.
// Usage: node server.js PORT

const http = require('http');
const egg = require('egg');

async function main() {
  const app = await egg.start({ baseDir: __dirname, env: 'prod', mode: 'single' });
  const server = http.createServer(app.callback());
  app.emit('server', server);
  server.keepAliveTimeout = 0;
  server.listen({ host: '127.0.0.1', port: Number(process.argv[2]), backlog: 4096 });
}

// egg-sse's ping timer keeps the process alive indefinitely, so end the process and not only the server.
process.on('SIGTERM', () => process.exit(0));
process.on('SIGINT', () => process.exit(0));

main().catch(err => {
  console.error(err);
  process.exit(1);
});
