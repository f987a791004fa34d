// Writes what npm's EventSource client dispatches, a JSON object a line: node eventsource.mjs URL [EVENT NAME...]
import { EventSource } from "eventsource";

const [url, ...names] = process.argv.slice(2);
const write = (value) => process.stdout.write(`${JSON.stringify(value)}\n`);
const source = new EventSource(url);
source.addEventListener("open", () => write({ type: "open" }));
source.addEventListener("error", (e) => console.error(e.code ?? "", e.message ?? ""));
for (const name of ["message", "gap", ...names]) {
  source.addEventListener(name, (e) => write({ type: e.type, data: e.data, id: e.lastEventId }));
}
