'use strict';

// The longest wait for a condition. Only a failure waits for so long: a machine that is busy with other tests may take
// many times as long as a quiet one.
const PATIENCE = 240000;

/** Waits until check() returns something truthy, and returns it. An error counts as not yet. */
async function until(what, check, patience = PATIENCE) {
  const end = Date.now() + patience;
  let last;
  for (;;) {
    try {
      last = await check();
      if (last) return last;
    } catch (err) {
      last = err;
    }
    if (Date.now() > end) throw new Error(`${what}: not within ${patience} ms; the last result: ${last instanceof Error ? last.stack : JSON.stringify(last)}`);
    await new Promise(resolve => setTimeout(resolve, 10));
  }
}

module.exports = { until, PATIENCE };
