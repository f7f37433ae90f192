import type { Context } from "../../context.ts";
import type { Client } from "../../store/clients.ts";

/** Letters that look like a Latin one, after case folding. */
const lookalikes: Readonly<Record<string, string>> = {
  ...{ а: "a", в: "b", с: "c", ԁ: "d", е: "e", һ: "h", і: "l", ј: "j", к: "k", ӏ: "l", м: "m", н: "h", о: "o", р: "p" },
  ...{ ѕ: "s", т: "t", у: "y", х: "x", ѵ: "v", ԛ: "q", ԝ: "w" },
  ...{ α: "a", β: "b", ε: "e", η: "n", ι: "l", κ: "k", ν: "v", ο: "o", ρ: "p", τ: "t", υ: "u", χ: "x" },
  ...{ i: "l", ı: "l", "1": "l", "0": "o", ß: "ss" },
};

/** Was its name given by the client itself, so that the operator may never have seen it? */
export function isUnverified({ source }: Client): boolean {
  return source === "registration" || source === "document";
}

/** What pages call a client; one whose id is a URL with the host of it, which alone is known for sure. */
export function shownName({ clientId, metadata, source }: Client): string {
  const name = metadata.client_name ?? clientId;
  return source === "document" ? `${name} (${new URL(clientId).host})` : name;
}

/**
 * A page of a client that people are sent to. One that registered itself has it where its answers go, and nowhere else: its links are as little
 * known as its name (RFC 7591 section 5).
 */
export function shownLink(client: Client, uri: string | undefined, redirectOrigin: string): string | null {
  if (uri === undefined) return null;
  return !isUnverified(client) || new URL(uri).origin === redirectOrigin ? uri : null;
}

/** Does a name look like the name or the id of a client that the operator registered? Clients that register themselves may share one. */
export async function isNameTaken(ctx: Context, name: string): Promise<boolean> {
  const wanted = skeletonOf(name);
  const clients = await ctx.store.clients.listOfOperator();
  return clients.some(({ clientId, metadata }) => {
    return [clientId, metadata.client_name ?? clientId].some((each) => skeletonOf(each) === wanted);
  });
}

/** What is left of a name for an eye that reads quickly: no case, accents, spaces or signs, and one letter for all that look alike. */
function skeletonOf(name: string): string {
  const folded = name.normalize("NFKD").toLowerCase().normalize("NFKD");
  const letters = Array.from(folded.replaceAll(/[^\p{L}\p{N}]/gu, ""), (letter) => lookalikes[letter] ?? letter);
  const skeleton = letters.join("").replaceAll("rn", "m").replaceAll("vv", "w");
  return skeleton === "" ? name : skeleton;
}
