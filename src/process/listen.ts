import { once } from "node:events";
import { createServer } from "node:net";
import type { Config } from "../config/config.ts";
import { StartRefused } from "../errors.ts";
import { addressOf } from "../net/address.ts";

/** In the order in which they are taken. */
const listeners = ["INTERNAL_HTTP", "HTTP", "GRPC"] as const;
type Listener = (typeof listeners)[number];

const noAddress = "is no address of this machine";

/** Why an address cannot be listened at, by the error's code; name look-ups put it into their message alone. */
const reasons: readonly (readonly [code: string, reason: string])[] = [
  ["EADDRINUSE", "is in use by another process"],
  ["EADDRNOTAVAIL", noAddress],
  ["ENOTFOUND", noAddress],
  ["EACCES", "may not be used by this process"],
];

/** Starts a listener. @throws StartRefused: its address cannot be used, nor those that are named beside it, which would have come next */
export async function listen<T>(name: Listener, config: Config, start: () => Promise<T>): Promise<T> {
  try {
    return await start();
  } catch (error) {
    const reason = reasonOf(error);
    if (reason === null) throw error;
    const next = listeners.slice(listeners.indexOf(name) + 1);
    const refused = [{ name, reason }, ...(await refusedOf(next, config))];
    const said = refused.map((each) => {
      const setting = each.reason === noAddress ? "HOST" : "PORT";
      return `${each.name}_${setting}: ${addressOf(listenerOf(each.name, config))} ${each.reason}`;
    });
    const ports = refused.filter((each) => each.reason !== noAddress);
    const hosts = refused.filter((each) => each.reason === noAddress);
    const example = [...hosts.map((each) => `${each.name}_HOST=127.0.0.1`), ...freePorts(ports, config)].join(" ");
    throw new StartRefused(`${said.join("\n")}. Choose another one, for example ${example}`, { cause: error });
  }
}

const listenerOf = (name: Listener, config: Config) =>
  ({ HTTP: config.http, GRPC: config.grpc, INTERNAL_HTTP: config.internalHttp })[name];

function reasonOf(error: unknown): string | null {
  const { code, message } = error as NodeJS.ErrnoException;
  return reasons.find(([name]) => code === name || message.includes(name))?.[1] ?? null;
}

/** Those of them whose address cannot be used either, so that an operator changes all of them at once. */
async function refusedOf(names: readonly Listener[], config: Config): Promise<{ name: Listener; reason: string }[]> {
  const refused: { name: Listener; reason: string }[] = [];
  for (const name of names) {
    const probe = createServer();
    try {
      await once(probe.listen(listenerOf(name, config)), "listening");
    } catch (error) {
      const reason = reasonOf(error);
      if (reason !== null) refused.push({ name, reason });
    }
    probe.close();
  }
  return refused;
}

/** An example of other ports, none of which another listener of this service has. */
function freePorts(refused: readonly { readonly name: Listener }[], config: Config): string[] {
  const used = new Set(listeners.map((name) => listenerOf(name, config).port));
  return refused.map(({ name }) => {
    const { port } = listenerOf(name, config);
    let free = port < 60_000 ? port + 1 : 10_000;
    while (used.has(free)) free++;
    used.add(free);
    return `${name}_PORT=${free}`;
  });
}
