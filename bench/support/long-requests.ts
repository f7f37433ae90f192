import { authorizeUrl } from "../../test/support/flow.ts";

/** Run as a process with the service's URL it sends twenty of them a second, of each kind in turn. */
export const senderFile = import.meta.filename;

/** Authorization requests of a client there is, each too long in its own way. */
export function longRequests(url: string): Record<string, URLSearchParams> {
  const longer = (change: (parameters: URLSearchParams) => void) => {
    const parameters = new URL(authorizeUrl(url)).searchParams;
    change(parameters);
    return parameters;
  };
  const scopes = Array.from({ length: 10_000 }, (_, n) => `scope${n}`).join(" ");
  return {
    "10,000 scopes": longer((parameters) => parameters.set("scope", scopes)),
    "10,000 times one scope": longer((parameters) => parameters.set("scope", "read ".repeat(10_000))),
    "1 MB of scope": longer((parameters) => parameters.set("scope", "s".repeat(1e6))),
    "5,000 parameters": longer((parameters) => {
      for (let n = 0; n < 5_000; n++) parameters.set(`p${n}`, "1");
    }),
  };
}

if (import.meta.main) {
  const url = process.argv[2] ?? "";
  const bodies = Object.values(longRequests(url)).map(String);
  const headers = { "content-type": "application/x-www-form-urlencoded" };
  let n = 0;
  setInterval(() => {
    const body = bodies[n++ % bodies.length] ?? "";
    // refused and hung up on, as it should be
    fetch(`${url}/oauth2/authorize`, { method: "POST", headers, body }).catch(() => {});
  }, 50);
}
