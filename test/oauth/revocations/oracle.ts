import type { Client } from "../../../src/store/clients.ts";
import type { FakeDatabase, TruthRow } from "./fake-store.ts";

export interface IssuedToken {
  readonly text: string;
  readonly jti: string;
  readonly sid: string;
  readonly sub: string;
  readonly client_id: string;
  readonly iat: number;
  readonly exp: number;
}

/** Of an answer: when it was given, and the state of the replica that gave it. */
export interface Circumstances {
  readonly now: number;
  readonly startedAt: number;
  /** The replica's clock when asked and when answering. */
  readonly clockSeconds: readonly [number, number];
  /** When its newest good read was sent. */
  readonly goodAt: number;
  /** When it last had trouble, or was started. */
  readonly badAt: number;
}

/** The committed truth, and what a replica may say about a token within the bound. */
export class Truth {
  readonly #database: FakeDatabase;
  readonly #boundMs: number;
  readonly #rows = new Map<string, TruthRow[]>();
  readonly #clients = new Map<string, { from: number; client: Client }[]>();

  constructor(database: FakeDatabase, boundMs: number) {
    this.#database = database;
    this.#boundMs = boundMs;
  }

  began(rows: readonly TruthRow[]): void {
    for (const row of rows) {
      const key = `${row.kind} ${row.value}`;
      this.#rows.set(key, [...(this.#rows.get(key) ?? []), row]);
    }
  }

  setClient(client: Client): void {
    this.#database.clients.set(client.clientId, client);
    const history = this.#clients.get(client.clientId) ?? [];
    this.#clients.set(client.clientId, [...history, { from: this.#database.time.now, client }]);
  }

  /** Was this what the database said about the client at some time within the bound? */
  wasClientLately(client: Client, now: number): boolean {
    const history = this.#clients.get(client.clientId) ?? [];
    const at = history.findIndex((each) => each.client === client);
    return at >= 0 && (history[at + 1]?.from ?? now) >= now - this.#boundMs;
  }

  /** @returns what is wrong with the answer, or null */
  judge(answer: "active" | "inactive" | "unavailable", token: IssuedToken, at: Circumstances): string | null {
    if (answer === "unavailable")
      return at.badAt < at.startedAt - 2 * this.#boundMs ? "unavailable without a reason" : null;
    // from so far in the future it is none of ours, whatever is revoked
    const future = Math.min(...at.clockSeconds) + 10 < token.iat;
    if (answer === "inactive" && future) return null;
    if (at.goodAt < at.now - this.#boundMs) return `${answer} from a state that is ${at.now - at.goodAt} ms old`;
    const rows = this.#applying(token);
    const expired = Math.max(...at.clockSeconds) >= token.exp;
    if (answer === "active") {
      const known = rows.find((row) => row.committedAt < at.now - this.#boundMs && !this.#isOver(row, token));
      if (known !== undefined) return `active ${at.now - known.committedAt} ms after ${known.kind} ${known.value}`;
      const clients = this.#clients.get(token.client_id)?.filter(({ from }) => from < at.now - this.#boundMs) ?? [];
      const since = this.#clients.get(token.client_id)?.filter(({ from }) => from >= at.now - this.#boundMs) ?? [];
      const disabled =
        clients.at(-1)?.client.disabledAt !== null && since.every(({ client }) => client.disabledAt !== null);
      if (disabled) return "active though its client is disabled";
      return at.clockSeconds[1] >= token.exp ? "active though it expired" : null;
    }
    const clientEnded = (this.#clients.get(token.client_id) ?? []).some(({ client }, n, all) => {
      return client.disabledAt !== null && (all[n + 1]?.from ?? at.now) >= at.now - this.#boundMs;
    });
    return rows.length > 0 || expired || clientEnded ? null : "inactive though nothing ended it";
  }

  /** Ten minutes after the token's end. Only a clock that is so wrong, whose replica takes no traffic, sees it as good again. */
  #isOver({ committedAt, revokedAt, expiresAt }: TruthRow, { exp }: IssuedToken): boolean {
    const { wall, now } = this.#database.time;
    const end = wall - now + committedAt + expiresAt - revokedAt;
    return end < exp * 1000 || end <= wall;
  }

  #applying({ jti, sid, sub, client_id, iat }: IssuedToken): TruthRow[] {
    const disabled = this.#rows.get(`client ${client_id}`)?.filter(({ revokedAt }) => iat * 1000 <= revokedAt + 2_000);
    const keys = [`token ${jti}`, `authorization ${sid}`, `subject ${sub}`];
    return [...keys.flatMap((key) => this.#rows.get(key) ?? []), ...(disabled ?? [])];
  }

  /**
   * @param applied what a watcher has, of which the first `known` rows were found complete before
   * @returns a revocation committed before `sentAt` that it lacks though tokens live that it applies to. They do so for the row's own
   * span after its commit: by its times of day, which a clock that was an hour ahead may have written, it could stay for longer.
   */
  missing(watcher: { readonly applied: ReadonlySet<string>; known: number }, sentAt: number): string | null {
    const { rows, time } = this.#database;
    const has = ({ kind, value }: TruthRow) => kind === "client_changed" || watcher.applied.has(`${kind} ${value}`);
    while (watcher.known < rows.length && has(rows[watcher.known] as TruthRow)) watcher.known++;
    for (let n = watcher.known; n < rows.length; n++) {
      const row = rows[n] as TruthRow;
      const over = row.committedAt + row.expiresAt - row.revokedAt <= time.now || row.expiresAt <= time.wall;
      if (row.committedAt < sentAt && !over && !has(row)) return `${row.kind} ${row.value} (row ${row.id})`;
    }
    return null;
  }
}
