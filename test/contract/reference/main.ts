// `npm run reference`: the same requests to this service and to node-oidc-provider. With --record the answers are
// stored, with --print they are written to standard output.
import { problems, record, store } from "./reference.ts";

const recordings = await record();
if (process.argv.includes("--print")) {
  console.log(JSON.stringify([...recordings]));
  process.exit(0);
}
if (process.argv.includes("--record")) store(recordings);
const found = [...recordings].flatMap(([group, recording]) => problems(group, recording));
for (const problem of found) console.error(problem);
const sent = [...recordings.values()].reduce((sum, recording) => sum + Object.keys(recording).length, 0);
console.log(`${sent} requests to each server, ${found.length} problems`);
process.exit(found.length === 0 ? 0 : 1);
