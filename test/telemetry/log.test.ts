import { expect, it } from "@jest/globals";
import { createLogger } from "../../src/telemetry/log.ts";

/** The `err` of a line about an error with these members. */
function loggedAs(members: object): Record<string, unknown> {
  const lines: string[] = [];
  const log = createLogger("info", { write: (line) => void lines.push(line) });
  log.error({ err: Object.assign(new Error("it failed"), members) }, "a line");
  const [line = ""] = lines;
  return (JSON.parse(line) as { err: Record<string, unknown> }).err;
}

it.each(["ECONNREFUSED", "ER_LOCK_DEADLOCK", "SQLITE_BUSY", "PROTOCOL_CONNECTION_LOST", "UND_ERR_SOCKET"])(
  "an error's line names the fault %s",
  (code) => {
    expect(loggedAs({ code })).toMatchObject({ type: "Error", message: "it failed", fault: code });
  },
);

it("what only stands where a fault's name would is hidden", () => {
  for (const code of ["SplxlOBeZQQYbYS6WxSbIA", "E2HXW8q3nM0uYk1vTzLr5sBd7fJc9gPaQeRtUoIiKlM", "4021", "BCDF-GHJK"]) {
    expect(JSON.stringify(loggedAs({ code, password: code, token: code }))).not.toContain(code);
  }
});
