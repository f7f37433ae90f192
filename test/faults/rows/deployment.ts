import { randomInt } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { createRemoteJWKSet, decodeProtectedHeader, jwtVerify } from "jose";
import { createConnection } from "mysql2/promise";
import { postForm } from "../../support/flow.ts";
import { SITE } from "../harness/client.ts";
import { auth, killedCommand } from "../harness/command.ts";
import { slowest } from "../harness/ledger.ts";
import { MIXED } from "../harness/load.ts";
import type { Row } from "../harness/row.ts";
import type { System } from "../harness/system.ts";

const section = "Deployment";

interface Secrets {
  /** Of a client that signs users in. */
  readonly site: string;
  /** `Authorization` of a service that introspects. */
  readonly gateway: string;
}

export const DEPLOYMENT: readonly Row[] = [
  {
    id: "F-50",
    section,
    title: "SIGTERM with work in flight",
    async run(system, { load, ledger, long, progress, check }) {
      const trials = long ? 10 : 2;
      await load.prepare(8);
      const rotating = load.sessions.filter(({ clientId }) => clientId === "rotating");
      const other = await createConnection(system.parts.databaseUrl);
      let worst = 0;
      for (let trial = 1; trial <= trials; trial++) {
        progress(`${trial} of ${trials}`);
        const victim = system.replicas[trial % 2];
        if (victim === undefined) throw new Error("no replica");
        await other.query("START TRANSACTION");
        await other.query("SELECT id FROM oauth2_authorization FOR UPDATE");
        const from = performance.now();
        const refreshes = rotating.map((session) => load.client.refresh(victim.url, session));
        await waitUntil(async () => {
          const [waits] = await other.query(
            "SELECT COUNT(*) AS n FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'",
          );
          return Number((waits as { n: number }[])[0]?.n) >= rotating.length;
        });
        const stopping = victim.stop();
        const asked = performance.now();
        await sleep(300);
        await other.query("ROLLBACK");
        await Promise.all(refreshes);
        const status = await stopping;
        const took = performance.now() - asked;
        worst = Math.max(worst, took);
        const failed = ledger.between(from).filter(({ outcome }) => outcome !== "ok");
        check(failed.length === 0, `${failed.length} calls that were accepted failed: ${failed[0]?.detail}`);
        check(status === 0, `exit status ${status}`);
        check(took <= 10_000, `ended only after ${Math.round(took)} ms`);
        await victim.start();
      }
      other.destroy();
      return {
        did: `${trials} times SIGTERM while refreshes wait for a locked row`,
        counted: `slowest exit ${Math.round(worst)} ms; slowest answer ${slowest(ledger.calls)} ms`,
      };
    },
  },
  {
    id: "F-52",
    section,
    title: "keys rotate",
    system: { env: { JWKS_MAX_AGE: "2" } },
    async run(system, { load, long, progress, check }) {
      const rotations = long ? 20 : 3;
      const [replica] = system.replicas;
      if (replica === undefined) throw new Error("no replica");
      await load.prepare(6);
      const verifiers = system.urls.map((url) =>
        createRemoteJWKSet(new URL(`${url}/oauth2/jwks`), { cacheMaxAge: 2_000, cooldownDuration: 1_000 }),
      );
      const kids = new Set<string>();
      let verified = 0;
      const verify = async () => {
        for (const { tokens, accessExpiresAt } of load.sessions) {
          const ends = () => performance.now() > accessExpiresAt - 5_000;
          if (ends()) continue;
          kids.add(String(decodeProtectedHeader(tokens.access_token).kid));
          for (const keys of verifiers) {
            // each of them may fetch the keys first
            if (ends()) break;
            await jwtVerify(tokens.access_token, keys).catch((error: Error) =>
              check(false, `refused: ${error.message}`),
            );
            verified++;
          }
        }
      };
      load.start({ ...MIXED, refreshes: 12 });
      for (let rotation = 1; rotation <= rotations; rotation++) {
        progress(`${rotation} of ${rotations}`);
        await auth(replica.env, "key", "rotate");
        verifiers.push(createRemoteJWKSet(new URL(`${replica.url}/oauth2/jwks`), { cacheMaxAge: 2_000 }));
        const known = kids.size;
        // until a token of the new key is there
        await waitUntil(async () => {
          await verify();
          return kids.size > known;
        }, 30_000);
      }
      await verify();
      await load.stop();
      return {
        did: `${rotations} rotations under load, ${verifiers.length} verifiers with jose`,
        counted: `${verified} verifications with ${kids.size} keys`,
      };
    },
  },
  {
    id: "F-53",
    section,
    title: "a key is revoked in an emergency",
    async run(system, { load, check }) {
      const [replica] = system.replicas;
      if (replica === undefined) throw new Error("no replica");
      await load.prepare(4);
      const kid = String(decodeProtectedHeader(load.sessions[0]?.tokens.access_token ?? "").kid);
      const old = load.sessions.map(({ tokens }) => tokens.access_token);
      const { introspect } = await import("../../support/flow.ts");
      const answers = () =>
        Promise.all(system.urls.flatMap((url) => old.map(async (token) => (await introspect(url, token)).active)));
      check(
        (await answers()).every((active) => active === true),
        "its tokens were not active before",
      );
      await auth(replica.env, "key", "distrust", kid);
      const distrusted = performance.now();
      await waitUntil(async () => (await answers()).every((active) => active === false));
      const took = Math.round(performance.now() - distrusted);
      check(took <= 1_000, `its tokens were active for ${took} ms`);
      // the audit refreshes every session, whose tokens then bear the new key
      return { did: "key distrust of the active key", counted: `its tokens inactive after ${took} ms` };
    },
  },
  {
    id: "F-55",
    section,
    title: "two migrations at once; one is killed",
    starts: true,
    system: { brokers: 0 },
    async run(system, { load, long, progress, check }) {
      const trials = long ? 20 : 2;
      const complete = await system.database.createDatabase();
      await auth({ ...system.replicas[0]?.env, DATABASE_URL: complete }, "migrate");
      const whole = await columnsOf(system, complete);
      let midway = 0;
      for (let trial = 1; trial <= trials; trial++) {
        progress(`${trial} of ${trials}`);
        const url = trial === trials ? system.parts.databaseUrl : await system.database.createDatabase();
        const [victim, second] = [await system.relayFor(url), await system.relayFor(url)];
        victim.relay.delay(5);
        // if this one is the first to begin, the schema grows so slowly that one sees it
        second.relay.delay(50);
        const stopAt = randomInt(1, whole);
        let ranAlone = false;
        let secondEnded = false;
        const isTime = async () => {
          if ((await columnsOf(system, url)) < stopAt) return false;
          victim.relay.freeze();
          // on a busy machine it may have made the whole schema before this one began
          await waitUntil(async () => second.relay.connections > 0 || secondEnded, 60_000);
          // while one stands still the other waits, if it is the one that migrates
          await sleep(100);
          const stands = await columnsOf(system, url);
          await sleep(600);
          ranAlone = stands < whole && (await columnsOf(system, url)) === stands;
          return true;
        };
        const [ended, other] = await Promise.all([
          killedCommand(victim.env, isTime, "migrate").finally(() => victim.relay.close()),
          auth(second.env, "migrate")
            .then(
              () => "",
              (error: Error) => error.message,
            )
            .finally(() => {
              secondEnded = true;
            }),
        ]);
        await second.relay.close();
        if (ended && ranAlone) midway++;
        check(other === "", `the migration beside the killed one failed: ${other}`);
        await auth({ ...victim.env, DATABASE_URL: url }, "migrate");
        const made = await columnsOf(system, url);
        check(made === whole, `${made} columns after the migration, not ${whole}`);
      }
      check(midway > trials / 2, `only ${midway} of ${trials} died midway`);
      await system.start();
      await load.prepare(2);
      return {
        did: "migrate twice at once on a fresh database, one killed, then again",
        counted: `${midway} of ${trials} killed midway, while the other one waited`,
      };
    },
  },
  {
    id: "F-57",
    section,
    title: "secrets are changed",
    long: true,
    async run(system, { load, ledger, long, progress, check }) {
      const overlap = long ? 60 : 20;
      const [replica] = system.replicas;
      if (replica === undefined) throw new Error("no replica");
      const secretOf = async (...command: string[]) =>
        (JSON.parse(await auth(replica.env, "client", ...command, "--json")) as { client_secret: string })
          .client_secret;
      const both = async (site: string[], gateway: string[]): Promise<Secrets> => {
        const [ofSite, ofGateway] = await Promise.all([secretOf(...site), secretOf(...gateway)]);
        const authorization = `Basic ${Buffer.from(`gateway:${ofGateway}`).toString("base64")}`;
        return { site: ofSite, gateway: authorization };
      };
      const old = await both(
        ["add", "site", "--first-party", "--redirect-uri", SITE.redirectUri, "--scope", SITE.scope],
        ["add", "gateway", "--grant-type", "client_credentials", "--scope", "auth.introspect"],
      );
      await load.prepare(4);
      const [session] = load.sessions;
      if (session === undefined) throw new Error("no session");
      load.start();
      let used = 0;
      /** A login at the site and an introspection by the gateway, at each replica; the ledger has what failed. */
      const use = async (name: string, { site, gateway }: Secrets) => {
        for (const url of system.urls) {
          const code = await load.client.authorize(url, session.account, "site");
          const signedIn = code && (await load.client.redeem(url, code, site));
          check(signedIn !== null, `no login with the ${name} secret`);
          check(
            signedIn !== null && (await load.client.introspect(url, signedIn, gateway)),
            `no introspection with the ${name} secret`,
          );
          used++;
        }
      };
      await use("old", old);
      progress(`both secrets for ${overlap} s`);
      const begun = performance.now();
      const renewed = await both(
        ["rotate-secret", "site", "--overlap", String(overlap)],
        ["rotate-secret", "gateway", "--overlap", String(overlap)],
      );
      const before = used;
      // one round is under way for a while: the last one begins well before the end
      while (performance.now() < begun + (overlap - 6) * 1_000) {
        await use("old", old);
        await use("new", renewed);
      }
      check(used > before, "both secrets were never there together");
      progress("the old secrets end");
      const refused = async (url: string) => {
        const { gateway, site } = old;
        const token = { token: session.tokens.access_token };
        const asked = await postForm(`${url}/oauth2/introspect`, token, { authorization: gateway });
        const form = { grant_type: "authorization_code", code: "none", client_id: "site", client_secret: site };
        const redeemed = await postForm(`${url}/oauth2/token`, { ...form, redirect_uri: SITE.redirectUri });
        const { error } = (await redeemed.json()) as { error: string };
        return asked.status === 401 && error === "invalid_client";
      };
      await waitUntil(async () => (await Promise.all(system.urls.map(refused))).every(Boolean), 30_000);
      await use("new", renewed);
      await load.stop();
      const failed = ledger.calls.filter(({ outcome }) => outcome === "unknown");
      check(failed.length === 0, `${failed.length} calls failed: ${failed[0]?.detail}`);
      return {
        did: `client rotate-secret --overlap ${overlap} of a site and of a service under load; \`npm test\` shows a new KEY_ENCRYPTION_KEY (\`test/commands/key-reseal.test.ts\`) and the database's password (\`test/database/mariadb.services.test.ts\`)`,
        counted: `${used} logins and introspections with old and new secrets in turn; then the old ones refused`,
      };
    },
  },
  {
    id: "F-59",
    section,
    title: "what is not needed for an answer dies",
    async run(system, { load, ledger, progress, check }) {
      const second = system.replicas[1];
      await load.prepare(6);
      load.start();
      await sleep(3_000);
      progress("without Kafka");
      await system.kafka.kill();
      await sleep(5_000);
      await load.stop();
      check((await system.pending()) > 0, "no event waited for Kafka");
      progress("without Kafka and the second replica");
      await second?.kill();
      await load.during(5);
      const failed = ledger.calls.filter(({ outcome }) => outcome === "unknown" || outcome === "wrong");
      check(failed.length === 0, `${failed.length} calls failed: ${failed[0]?.detail}`);
      await system.kafka.restart();
      return { did: "Kafka, then also the second replica killed under load", counted: "" };
    },
  },
];

/** Columns of all tables: how far a migration has come. */
async function columnsOf(system: System, url: string): Promise<number> {
  return await system.count(`information_schema.columns WHERE table_schema = '${new URL(url).pathname.slice(1)}'`);
}

/** InnoDB looks at its transactions again only when nothing asked for a tenth of a second. */
const pollMs = 150;

async function waitUntil(condition: () => Promise<boolean>, withinMs = 10_000): Promise<void> {
  for (const giveUp = performance.now() + withinMs; !(await condition()); await sleep(pollMs)) {
    if (performance.now() > giveUp) throw new Error(`not within ${withinMs} ms`);
  }
}
