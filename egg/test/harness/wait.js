'use strict';

// The longest wait for a condition. Only a failure waits for so long: a machine that is busy with other tests may take
// many times as long as a quiet one.
const PATIENCE = 240000;

/**
 * Waits until check() returns something truthy, and returns it. An error counts as not yet. The pause between two checks is a
 * twentieth of the time so far, since a check may cost a request, and 10 to 100 ms.
 */
async function until(what, check, patience = PATIENCE) {
  const begin = Date.now();
  let last;
  for (;;) {
    try {
      last = await check();
      if (last) return last;
    } catch (err) {
      last = err;
    }
    const time = Date.now() - begin;
    if (time > patience) throw new Error(`${what}: not within ${patience} ms; the last result: ${last instanceof Error ? last.stack : JSON.stringify(last)}`);
    await new Promise(resolve => setTimeout(resolve, Math.min(Math.max(time / 20, 10), 100)));
  }
}

module.exports = { until, PATIENCE };
