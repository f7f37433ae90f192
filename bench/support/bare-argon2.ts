import { hash, verify } from "argon2";

/** The baseline of a login: one password is verified again and again, with the service's parameters. Prints how many a second. */
const [, , seconds = "3"] = process.argv;
const stored = await hash("correct horse battery", { memoryCost: 19_456, timeCost: 2, parallelism: 1 });
const from = performance.now();
let verified = 0;
while (performance.now() - from < Number(seconds) * 1000) {
  if (!(await verify(stored, "correct horse battery"))) throw new Error("the password is right");
  verified++;
}
process.stdout.write(`${JSON.stringify({ perSecond: (verified / (performance.now() - from)) * 1000 })}\n`);
