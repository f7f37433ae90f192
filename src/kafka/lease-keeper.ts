import { pause } from "../deadline.ts";
import type { Lease, LeaseStore } from "../store/leases.ts";
import { OUTBOX_LANES } from "../store/outbox.ts";
import type { Logger } from "./event-publisher.ts";
import type { Lane } from "./lane.ts";
import type { DatabaseOutage } from "./outages.ts";
import type { RelayTiming } from "./timing.ts";
import { backoff } from "./timing.ts";

const lanePrefix = "outbox-lane-";
const relayPrefix = "relay-";
/** At the end of the name of a relay to Kafka. The previous release has it nowhere: its relays are taken for such to files, and share. */
const kafkaSuffix = "/kafka";

export interface LeaseKeeperOptions {
  readonly leases: LeaseStore;
  /** Name of this relay among all relays: unique to its run. */
  readonly owner: string;
  readonly timing: RelayTiming;
  readonly log: Pick<Logger, "warn">;
  /** A relay to a file takes lanes only while there is none to Kafka: some replicas have no broker yet, and consumers read the broker. */
  readonly sink: "kafka" | "file";
  readonly database: DatabaseOutage;
  /** Called with the name of every live relay, whenever they were looked up. */
  onRelays(names: readonly string[]): void;
  /** Starts a lane whose lease was just taken. @param validUntil until when it is certainly held, by `performance.now()` */
  startLane(number: number, lease: Lease, validUntil: number): Lane;
}

/**
 * Decides which lanes this relay works on. Each relay announces itself with its own lease; the lanes are divided by the number of
 * live announcements, those of relays to files only while there are no others. Each lane is a lease too, so that one relay at a time works on it: the keeper takes free ones up to its share,
 * renews them, and gives back what exceeds its share.
 */
export class LeaseKeeper {
  readonly #options: LeaseKeeperOptions;
  readonly #closing = new AbortController();
  /** Lanes from the taking of their lease to its release, by number. */
  readonly #lanes = new Map<number, Lane>();
  readonly #releases = new Set<Promise<void>>();
  readonly #loop: Promise<void>;
  #announcement: Lease | null = null;
  /** Fewer lanes than the share are held: look again soon. */
  #isShort = true;
  #sharedOutAt = Number.NEGATIVE_INFINITY;
  #isLeft = false;

  constructor(options: LeaseKeeperOptions) {
    this.#options = options;
    this.#loop = this.#keep();
  }

  /** The lanes that are held now; some of them may be ending. */
  get lanes(): readonly Lane[] {
    return [...this.#lanes.values()];
  }

  lane(number: number): Lane | undefined {
    return this.#lanes.get(number);
  }

  /** Stops every lane, at once; resolves when every lease is released. Rejects, or waits, while the database is away. */
  async close(): Promise<void> {
    this.#closing.abort();
    this.#stopLanes();
    await this.#loop;
    // the last round may have taken more
    this.#stopLanes();
    await Promise.all(this.#releases);
    if (this.#announcement !== null) await this.#options.leases.release(this.#announcement);
  }

  #stopLanes(): void {
    for (const lane of this.#lanes.values()) lane.stop();
  }

  async #keep(): Promise<void> {
    const { timing, database } = this.#options;
    for (let failures = 0; !this.#closing.signal.aborted; ) {
      try {
        await this.#turn();
        failures = 0;
        await pause(this.#isShort ? timing.poll : timing.renew / 3, this.#closing.signal);
      } catch (error) {
        failures += 1;
        database.failed(error);
        await pause(backoff(failures, timing.maxBackoff), this.#closing.signal);
      }
    }
  }

  /** Renews every lease when one is due; shares the lanes out when that is due. */
  async #turn(): Promise<void> {
    const { timing, database } = this.#options;
    const now = performance.now();
    for (const lane of this.lanes) if (now >= lane.validUntil) lane.lose();
    const sharesOut = now - this.#sharedOutAt >= timing.renew || this.#isShort;
    const isDue = ({ validUntil }: Lane) => validUntil - now <= timing.leaseTtl - timing.renew;
    if (!sharesOut && !this.lanes.some(isDue)) return;
    await this.#renew(now);
    if (!sharesOut) return;
    this.#sharedOutAt = now;
    await this.#announce();
    await this.#shareOut();
    database.answered();
  }

  /** Renews the leases of the announcement and of all lanes, in one statement. */
  async #renew(now: number): Promise<void> {
    const { leases, timing } = this.#options;
    const lanes = this.lanes.filter(({ isLost }) => !isLost);
    const announced = this.#announcement === null ? [] : [this.#announcement];
    const held = await leases.renewAll([...announced, ...lanes.map(({ lease }) => lease)], timing.leaseTtl);
    for (const lane of lanes) {
      if (held.has(lane.lease.name)) lane.extend(now + timing.leaseTtl);
      else lane.lose();
    }
    if (this.#announcement !== null && !held.has(this.#announcement.name)) this.#announcement = null;
  }

  async #announce(): Promise<void> {
    const { leases, owner, timing } = this.#options;
    this.#announcement ??= await leases.acquire(this.#name, owner, timing.leaseTtl);
  }

  get #name(): string {
    const { sink, owner } = this.#options;
    return relayPrefix + owner + (sink === "kafka" ? kafkaSuffix : "");
  }

  /** Gives back what exceeds the share of this relay, or takes what is missing and free. */
  async #shareOut(): Promise<void> {
    const { leases, onRelays } = this.#options;
    const holders = await leases.holders(relayPrefix);
    onRelays(holders.map((holder) => holder.owner));
    const names = holders.map(({ name }) => name).sort();
    const toKafka = names.filter((name) => name.endsWith(kafkaSuffix));
    this.#sayLeft(toKafka.length > 0);
    const relays = toKafka.length > 0 ? toKafka : names;
    const count = Math.max(1, relays.length);
    const share = this.#isLeft ? 0 : Math.ceil(OUTBOX_LANES / count);
    const kept = this.lanes.filter((lane) => !lane.stopped.aborted);
    for (const surplus of kept.slice(share)) surplus.stop();
    // relays begin at different lanes, so that they seldom ask for the same one
    const from = Math.max(0, relays.indexOf(this.#name)) * share;
    const taken = kept.length < share ? await this.#take(share - kept.length, from) : 0;
    this.#isShort = !this.#isLeft && kept.length + taken < Math.floor(OUTBOX_LANES / count);
  }

  /** @param isKafkaSentTo whether a live relay sends to Kafka */
  #sayLeft(isKafkaSentTo: boolean): void {
    const isLeft = this.#options.sink === "file" && isKafkaSentTo;
    if (isLeft && !this.#isLeft) {
      const what =
        "another replica sends the events to Kafka, and none of this one go to its file: set KAFKA_BROKERS here too";
      this.#options.log.warn({}, what);
    }
    this.#isLeft = isLeft;
  }

  /** @returns how many of the wanted lanes were taken */
  async #take(wanted: number, first: number): Promise<number> {
    const { leases, owner, timing } = this.#options;
    const held = new Set((await leases.holders(lanePrefix)).map(({ name }) => name));
    let taken = 0;
    for (let i = 0; i < OUTBOX_LANES && taken < wanted && !this.#closing.signal.aborted; i += 1) {
      const number = (first + i) % OUTBOX_LANES;
      const name = `${lanePrefix}${number}`;
      if (held.has(name) || this.#lanes.has(number)) continue;
      const askedAt = performance.now();
      const lease = await leases.acquire(name, owner, timing.leaseTtl);
      if (lease === null) continue;
      this.#hold(this.#options.startLane(number, lease, askedAt + timing.leaseTtl));
      taken += 1;
    }
    return taken;
  }

  #hold(lane: Lane): void {
    this.#lanes.set(lane.number, lane);
    const release = lane.ended
      .then(() => (lane.isLost ? undefined : this.#options.leases.release(lane.lease)))
      .catch(() => {
        // the lease runs out by itself
      })
      .finally(() => {
        this.#lanes.delete(lane.number);
        this.#releases.delete(release);
      });
    this.#releases.add(release);
  }
}
