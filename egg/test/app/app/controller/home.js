'use strict';

const { Controller } = require('egg');

// The page of egg-sse's documentation, unchanged but for the host.
const PAGE = `<!doctype html>
<title>events</title>
<script>
const seen = [];
const eventSource = new EventSource('/stream?connectKey=' + new URLSearchParams(location.search).get('key'));
eventSource.onopen = e => { seen.push('open'); };
eventSource.onerror = e => { seen.push('error ' + eventSource.readyState); };
eventSource.onmessage = e => { seen.push('message ' + e.data); };
eventSource.addEventListener('data', e => { seen.push('data ' + e.data); });
</script>`;

module.exports = class HomeController extends Controller {
  async page() {
    this.ctx.type = 'html';
    this.ctx.body = PAGE;
  }

  async pid() {
    this.ctx.body = String(process.pid);
  }

  async node() {
    this.ctx.body = process.version;
  }

  async memory() {
    this.ctx.body = process.memoryUsage();
  }

  async none() {
    this.ctx.status = 404;
    this.ctx.body = 'nothing here';
  }
};
