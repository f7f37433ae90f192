import { type CryptoKey, compactVerify, createLocalJWKSet, errors, type JWK, type LocalJWKSet } from "jose";
import { LRUCache } from "lru-cache";
import { isWithin, type Span } from "../../clock.ts";
import type { Context } from "../../context.ts";
import { AuthError } from "../../errors.ts";
import { HostAway, maxAgeOf, outboundFetch, refuseFault } from "../../net/outbound.ts";
import { publicKeyProblem } from "../../store/client-metadata.ts";
import type { Client } from "../../store/clients.ts";
import type { ForeignJwt } from "../../token/foreign-jwt.ts";

/** A set is asked for again after its own max-age within these bounds, the lower one where it names none (milliseconds). */
const leastAge = 60_000;
const greatestAge = 600_000;
/** Between two fetches for one client, whatever makes us want one: an unknown `kid`, a host that does not answer. */
const cooldown = 5_000;
/** While its host does not answer, a set is used for so long after it was last fetched. */
const usableFor = 3_600_000;
const maxKeys = 20;
const never: Span = { from: 0, ms: 0 };

interface PublishedKeys {
  keys: LocalJWKSet | null;
  /** Not asked for again meanwhile, unless for a key that they lack. */
  fresh: Span;
  usableUntil: number;
  /** Not asked for again meanwhile, whatever for. */
  resting: Span;
  /** The last fetch found its host away: what is signed by a key that is not known may be right. */
  away: boolean;
  fetching: Promise<void> | null;
}

/** The public keys of clients: registered ones, and those published at a `jwks_uri`. */
export class ClientKeys {
  /** By the registered object itself: a client that changes brings another one. */
  readonly #registered = new WeakMap<object, LocalJWKSet>();
  readonly #published = new LRUCache<string, PublishedKeys>({ max: 1_000 });

  /**
   * Is this signed by a key of the client, the one its `kid` names where it names one?
   * @throws AuthError unavailable: it cannot be told while the host of the client's keys is away
   */
  async verify(ctx: Context, client: Client, jwt: ForeignJwt): Promise<boolean> {
    const { jwks, jwks_uri: uri } = client.metadata;
    if (jwks !== undefined) {
      let keys = this.#registered.get(jwks);
      if (keys === undefined) {
        keys = keySetOf(jwks.keys as unknown as JWK[]);
        this.#registered.set(jwks, keys);
      }
      return (await check(keys, jwt)) === "signed";
    }
    if (uri === undefined) return false;
    const published = await this.#current(ctx, client.clientId, uri);
    let outcome = await checkPublished(published, jwt);
    if (outcome === "unknown key" && !isWithin(published.resting, ctx.clock.now())) {
      await this.#fetch(ctx, client.clientId, uri, published);
      outcome = await checkPublished(published, jwt);
    }
    if (outcome === "unknown key" && published.away) {
      throw new AuthError("unavailable", "the host of the client's key set is away", { retryAfter: cooldown / 1000 });
    }
    return outcome === "signed";
  }

  async #current(ctx: Context, clientId: string, uri: string): Promise<PublishedKeys> {
    const name = `${clientId}\n${uri}`;
    let published = this.#published.get(name);
    if (published === undefined) {
      published = { keys: null, fresh: never, usableUntil: 0, resting: never, away: false, fetching: null };
      this.#published.set(name, published);
    }
    const now = ctx.clock.now();
    const due = !isWithin(published.fresh, now) && !isWithin(published.resting, now);
    // other calls wait for a fetch under way only where no keys are known: an unknown kid delays no one
    if (due || (published.fetching !== null && published.keys === null))
      await this.#fetch(ctx, clientId, uri, published);
    if (ctx.clock.now() >= published.usableUntil) published.keys = null;
    return published;
  }

  /** One fetch a client at a time, which callers share. What went wrong is logged; the keys stay as they were. */
  #fetch(ctx: Context, clientId: string, uri: string, published: PublishedKeys): Promise<void> {
    published.fetching ??= load(ctx, uri)
      .then(
        ({ keys, maxAge }) => {
          const now = ctx.clock.now();
          const fresh = { from: now, ms: maxAge };
          Object.assign(published, { keys, fresh, usableUntil: now + usableFor, away: false });
        },
        (error: unknown) => {
          published.away = error instanceof HostAway;
          ctx.log.warn({ client_id: clientId, err: error }, "the client's key set was not fetched");
        },
      )
      .finally(() => {
        published.resting = { from: ctx.clock.now(), ms: cooldown };
        published.fetching = null;
      });
    return published.fetching;
  }
}

async function load(ctx: Context, uri: string): Promise<{ keys: LocalJWKSet; maxAge: number }> {
  const headers = { accept: "application/jwk-set+json, application/json" };
  const answer = refuseFault(await outboundFetch(ctx.config.outboundAllowedHosts, uri, { headers }));
  const { status, body } = answer;
  if (status !== 200) throw new Error(`the host answered ${status}`);
  // without a byte order mark, which some programs write
  const set = JSON.parse(new TextDecoder().decode(body)) as { keys?: unknown } | null;
  const listed: unknown[] = Array.isArray(set?.keys) ? set.keys : [];
  // the set may hold keys for other uses; a key published with its private part is refused
  const usable = listed.filter(
    (key): key is JWK => key !== null && typeof key === "object" && publicKeyProblem(key as JWK) === null,
  );
  if (usable.length === 0 || usable.length > maxKeys) throw new Error(`the set has ${usable.length} usable keys`);
  return { keys: keySetOf(usable), maxAge: Math.min(greatestAge, Math.max(leastAge, maxAgeOf(answer))) };
}

/** `EdDSA` and `Ed25519` (RFC 9864) are two names of what an Ed25519 key does: neither leaves it out of the search. */
function keySetOf(keys: readonly JWK[]): LocalJWKSet {
  return createLocalJWKSet({
    keys: keys.map(({ alg, ...key }) => (key.kty === "OKP" || !alg ? key : { ...key, alg })),
  });
}

type Outcome = "signed" | "not signed" | "unknown key";

async function checkPublished({ keys }: PublishedKeys, jwt: ForeignJwt): Promise<Outcome> {
  return keys === null ? "unknown key" : check(keys, jwt);
}

async function check(keys: LocalJWKSet, jwt: ForeignJwt): Promise<Outcome> {
  const { kid } = jwt.header;
  const header = { alg: jwt.alg, ...(kid === undefined ? {} : { kid: kid as string }) };
  try {
    return (await isSignedWith(jwt, await keys(header))) ? "signed" : kid === undefined ? "unknown key" : "not signed";
  } catch (error) {
    if (!(error instanceof errors.JWKSMultipleMatchingKeys)) return "unknown key";
    for await (const key of error) if (await isSignedWith(jwt, key)) return "signed";
    return "unknown key";
  }
}

/** @param key as jose resolves it: of the type that the algorithm takes, or it fails */
async function isSignedWith(jwt: ForeignJwt, key: CryptoKey): Promise<boolean> {
  return compactVerify(jwt.text, key, { algorithms: [String(jwt.header["alg"])] }).then(
    () => true,
    () => false,
  );
}
