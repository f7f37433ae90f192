import { createHash } from "node:crypto";
import { LRUCache } from "lru-cache";
import { isWithin, type Span } from "../../clock.ts";
import type { Context } from "../../context.ts";
import { type ImageType, readImage } from "../../net/image.ts";
import { OutboundFailure, outboundFetch, refuseFault } from "../../net/outbound.ts";
import type { Client } from "../../store/clients.ts";
import { isUnverified } from "./names.ts";

/** After so long a logo is asked for again; the last one is shown meanwhile and where its host does not answer (milliseconds). */
const maxAge = 3_600_000;
/** Between two fetches of a logo that was not to be had (milliseconds). */
const cooldown = 60_000;
const maxBytes = 64 * 1024;
const maxLogos = 500;

export interface Logo {
  readonly type: ImageType;
  readonly body: Buffer;
  /** Names the content. */
  readonly version: string;
}

interface Known {
  logo: Logo | null;
  /** Not asked for meanwhile. */
  resting: Span;
  fetching: Promise<void> | null;
}

/**
 * The logos of clients (`logo_uri`), as this process fetched them. Pages load nothing from elsewhere, so the service serves them itself; those
 * of clients that registered themselves are neither fetched nor shown, because such a logo may be someone else's.
 */
export class ClientLogos {
  /** By address: clients may share one. */
  readonly #known = new LRUCache<string, Known>({ max: maxLogos });

  /** The logo if it is here. Never waits: a fetch that is due begins, and a later page shows what it brings. */
  peek(ctx: Context, client: Client): Logo | null {
    return this.#current(ctx, client)?.logo ?? null;
  }

  /** The logo, waited for where this process has not fetched it yet: another one made the page that names it. */
  async find(ctx: Context, client: Client): Promise<Logo | null> {
    const known = this.#current(ctx, client);
    if (known?.logo === null) await known.fetching;
    return known?.logo ?? null;
  }

  #current(ctx: Context, client: Client): Known | null {
    const { logo_uri: uri } = client.metadata;
    if (uri === undefined || isUnverified(client)) return null;
    let known = this.#known.get(uri);
    if (known === undefined) {
      known = { logo: null, resting: { from: 0, ms: 0 }, fetching: null };
      this.#known.set(uri, known);
    }
    if (known.fetching === null && !isWithin(known.resting, ctx.clock.now()))
      known.fetching = fetchInto(ctx, client.clientId, uri, known);
    return known;
  }
}

/** What went wrong is logged. The last logo stays where the host did not answer, and goes where it answered something else. */
async function fetchInto(ctx: Context, clientId: string, uri: string, known: Known): Promise<void> {
  try {
    known.logo = await load(ctx, uri);
    known.resting = { from: ctx.clock.now(), ms: maxAge };
  } catch (error) {
    ctx.log.warn({ client_id: clientId, err: error }, "the client's logo was not fetched");
    if (!(error instanceof OutboundFailure)) known.logo = null;
    known.resting = { from: ctx.clock.now(), ms: cooldown };
  } finally {
    known.fetching = null;
  }
}

async function load(ctx: Context, uri: string): Promise<Logo> {
  const headers = { accept: "image/svg+xml, image/png, image/webp, image/jpeg" };
  const answer = await outboundFetch(ctx.config.outboundAllowedHosts, uri, { headers, maxBytes });
  const { status, body } = refuseFault(answer);
  if (status !== 200) throw new Error(`the host answered ${status}`);
  const read = readImage(body);
  if ("problem" in read) throw new Error(`what the host answered ${read.problem}`);
  return { type: read.type, body, version: createHash("sha256").update(body).digest("hex").slice(0, 16) };
}
