import { LRUCache } from "lru-cache";
import type { Context } from "../../context.ts";
import type { Client } from "../../store/clients.ts";
import { skeletonsOf } from "./skeletons.ts";

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

/** What the service calls itself: on its pages, unless the operator brands them, and by its address. */
function ownNames({ config }: Context): string[] {
  return [config.brand?.name ?? "Account", "Auth service", new URL(config.issuer).host];
}

/**
 * Does a name look like the name or the id of a client that the operator registered, or like the service's own? Clients that register
 * themselves may share one.
 */
export async function isNameTaken(ctx: Context, name: string): Promise<boolean> {
  const wanted = skeletonsOf(name);
  const looksLike = (other: string) => knownSkeletons(other).some((skeleton) => wanted.includes(skeleton));
  if (ownNames(ctx).some(looksLike)) return true;
  const clients = await ctx.store.clients.listOfOperator();
  return clients.some(({ clientId, metadata }) => [clientId, metadata.client_name ?? clientId].some(looksLike));
}

/** Of the operator's clients, each of which every registration is compared with. */
const skeletons = new LRUCache<string, readonly string[]>({ max: 20_000 });

function knownSkeletons(name: string): readonly string[] {
  const known = skeletons.get(name) ?? skeletonsOf(name);
  skeletons.set(name, known);
  return known;
}

/** "verified" and "official" in the languages of the pages, as `skeletonsOf` has them. */
const vouchingWords: readonly string[] = [
  ...["verified", "official", "verifiziert", "offiziell", "offizielle", "offizieller", "offizielles"],
  ...["verificado", "verificada", "oficial", "vérifié", "vérifiée", "officiel", "officielle"],
].flatMap(skeletonsOf);

/** Korean and Japanese write no spaces here, and one of the words is that for a formula: only where it speaks of the application. */
const vouchingPhrases = [
  /인증 ?(됨|된|완료)|확인됨|(^|[\p{Ps}<]) ?공식( |[\p{Pe}>])|공식 ?(앱|어플|계정|사이트|스토어|클라이언트)/u,
  /認証済|確認済|検証済|[\p{Ps}<]公式[\p{Pe}>]|(?<!非)公式(アプリ|サイト|アカウント|クライアント|ストア)/u,
];
/** Marks that pages of many services show beside names that they checked. */
const checkMark = /[\u2611\u2705\u2713\u2714\u{1f5f8}\u{1f5f9}]/u;
/** A name of a host in brackets, which is how pages show whose a client is. There is no top-level domain `js`, but there is Node.js. */
const bracketedHost =
  /[\p{Ps}<][^\p{Pe}>]*[\p{L}\p{N}][.\u3002]((?![jJ][sS][^\p{L}])\p{L}{2,}|xn--[a-z0-9-]+)[^\p{Pe}>]*[\p{Pe}>]|[\p{Ps}<][ ]*\d+(\.\d+){3}[^\p{Pe}>]*[\p{Pe}>]/u;

/**
 * What a name that a client gave itself says of more than the client: that somebody checked it, or whose host it is at. Only this service's pages
 * say that.
 * @returns null: nothing
 */
export function vouchingProblem(name: string): string | null {
  const plain = name.normalize("NFKC");
  if (bracketedHost.test(plain)) return "must not have a host in brackets";
  const words = plain.split(/[\p{Z}\p{P}\p{S}]+/u).flatMap(skeletonsOf);
  const vouches =
    checkMark.test(name) ||
    words.some((word) => vouchingWords.includes(word)) ||
    vouchingPhrases.some((phrase) => phrase.test(plain.normalize("NFC")));
  return vouches ? "must not say that the client is verified or official" : null;
}
