import { spawn } from "node:child_process";
import { createHmac, createPublicKey, type JsonWebKey } from "node:crypto";
import { request } from "node:http";
import { testEnvironment } from "../test/support/app.ts";
import {
  authorizeUrl,
  getTokens,
  internalBasic,
  postForm,
  postJson,
  signUp,
  TestBrowser,
} from "../test/support/flow.ts";
import type { Figure } from "./figures.ts";
import { longRequests, senderFile } from "./support/long-requests.ts";
import {
  cpuSeconds,
  loadCpu,
  median,
  onCore,
  pinThisProcess,
  residentMegabytes,
  serverCpu,
  startPinned,
  stop,
} from "./support/processes.ts";

/** The rows of docs/standards.md that speak of milliseconds, medians or shares; each figure's name begins with its row. */
export async function security(): Promise<readonly Figure[]> {
  const env = await testEnvironment({ LOG_LEVEL: "error", ACCESS_TOKEN_TTL: "3600" });
  const url = env["ISSUER"] ?? "";
  const service = await startPinned(serverCpu, "../../src/main.ts", ["serve"], env);
  const pid = service.pid ?? 0;
  try {
    const account = await signUp(url);
    const { access_token: token } = await getTokens(url, account);
    return [
      ...(await hugeRequests(url, pid, token)),
      ...(await hostileTokens(url, pid, token)),
      ...(await unknownAndKnown(url, account.email)),
    ];
  } finally {
    await stop(service);
  }
}

function figure(name: string, value: number, unit: string, bar: number | null): Figure {
  return { name, value: Math.round(value * 1000) / 1000, unit, bar };
}

/** Processor milliseconds of the service for each of `count` calls. */
async function cost(pid: number, count: number, call: (n: number) => Promise<unknown>): Promise<number> {
  for (let n = 0; n < 5; n++) await call(n);
  const before = cpuSeconds(pid);
  for (let n = 0; n < count; n++) await call(n);
  return ((cpuSeconds(pid) - before) * 1000) / count;
}

async function statusOf(answering: Promise<Response>): Promise<number> {
  const response = await answering;
  await response.arrayBuffer();
  return response.status;
}

function refused(status: number): void {
  if (![400, 413, 414].includes(status)) throw new Error(`answered with ${status}, not refused`);
}

/** With Node's own client: fetch gives up before it sends so long a URL. */
function get(url: string): Promise<number> {
  return new Promise((resolve, reject) => {
    const call = request(url, { agent: false }, (response) => {
      response.resume();
      resolve(response.statusCode ?? 0);
    });
    call.once("error", reject).end();
  });
}

async function hugeRequests(url: string, pid: number, token: string): Promise<Figure[]> {
  const token_ = (text: string) =>
    fetch(`${url}/oauth2/token`, {
      method: "POST",
      headers: { "content-type": "application/x-www-form-urlencoded" },
      body: text,
    });
  const long = longRequests(url);
  const authorize: Record<string, () => Promise<number>> = {
    ...Object.fromEntries(
      Object.entries(long).map(([name, body]) => [
        `${name}, POST`,
        () => statusOf(fetch(`${url}/oauth2/authorize`, { method: "POST", body })),
      ]),
    ),
    "10,000 scopes, GET": () => get(`${url}/oauth2/authorize?${long["10,000 scopes"]}`),
  };
  const exchange: Record<string, () => Promise<number>> = {
    "64 KiB and a byte": () => statusOf(token_("a".repeat(65_537))),
    "a code of 1 MB": () => statusOf(token_(`grant_type=authorization_code&code=${"c".repeat(1e6)}`)),
    "2,000 fields": () => statusOf(token_(Array.from({ length: 2_000 }, (_, n) => `f${n}=1`).join("&"))),
    "__proto__ and constructor": () => statusOf(token_("__proto__=1&constructor=2&grant_type=x")),
  };
  const figures: Figure[] = [];
  for (const [name, call] of Object.entries(authorize)) {
    const ms = await cost(pid, 40, async () => refused(await call()));
    figures.push(figure(`S-018 ${name}`, ms, "ms of processor", 50));
  }
  for (const [name, call] of Object.entries(exchange)) {
    const ms = await cost(pid, 40, async () => refused(await call()));
    figures.push(figure(`S-073 ${name}`, ms, "ms of processor", 5));
  }
  return [...figures, await beside(url, token)];
}

/** Introspection at an even pace, alone and beside huge authorization requests, in turns; each is first in every other turn. */
async function beside(url: string, token: string): Promise<Figure> {
  /** @returns the 99th percentile in milliseconds */
  const pace = async () => {
    const times: number[] = [];
    const end = performance.now() + 4_000;
    while (performance.now() < end) {
      const from = performance.now();
      await statusOf(postForm(`${url}/oauth2/introspect`, { token }, { authorization: internalBasic }));
      times.push(performance.now() - from);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    return times.sort((x, y) => x - y)[Math.floor(times.length * 0.99)] ?? 0;
  };
  const together = async () => {
    const sender = spawn(...onCore(loadCpu, [process.execPath, senderFile, url]), { stdio: "ignore" });
    await new Promise((resolve) => setTimeout(resolve, 500));
    const p99 = await pace();
    sender.kill("SIGKILL");
    return p99;
  };
  const ratios: number[] = [];
  // on the service's core: it waits while the service works, and shares nothing with the sender
  pinThisProcess(serverCpu);
  try {
    await pace();
    for (let turn = 0; turn < 7; turn++) {
      const [first, last] = turn % 2 === 0 ? [await pace(), await together()] : [await together(), await pace()];
      ratios.push(turn % 2 === 0 ? last / first : first / last);
    }
  } finally {
    pinThisProcess(`${serverCpu},${loadCpu}`);
  }
  const name = "S-018 introspection p99 with these requests, ratio to without, median of 7 turns";
  return figure(name, median(ratios), "times", 1.2);
}

/** Tokens that a naive verifier would choke on or accept: each is refused, in little time. */
async function hostileTokens(url: string, pid: number, token: string): Promise<Figure[]> {
  const [header = "", payload = "", signature = ""] = token.split(".");
  const encode = (value: object) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const decoded = JSON.parse(Buffer.from(header, "base64url").toString()) as { kid: string };
  const { keys } = (await (await fetch(`${url}/oauth2/jwks`)).json()) as { keys: (JsonWebKey & { kid: string })[] };
  const jwk = keys.find(({ kid }) => kid === decoded.kid) ?? {};
  const pem = createPublicKey({ key: jwk, format: "jwk" }).export({ type: "spki", format: "pem" });
  const hmac = (secret: string | Buffer) => {
    const signed = `${encode({ ...decoded, alg: "HS256" })}.${payload}`;
    return `${signed}.${createHmac("sha256", secret).update(signed).digest("base64url")}`;
  };
  const wrapped = (alg: string, more: object) =>
    `${encode({ alg, enc: "A256GCM", typ: "at+jwt", ...more })}.${"A".repeat(342)}.${"A".repeat(16)}.${"A".repeat(4000)}.${"A".repeat(22)}`;
  const hostile: Record<string, string> = {
    "S-105 alg none": `${encode({ ...decoded, alg: "none" })}.${payload}.`,
    "S-105 HS256 with the public key": hmac(pem),
    "S-105 RS256 with an EC key": `${encode({ ...decoded, alg: "RS256" })}.${payload}.${signature}`,
    "S-109 JWE": wrapped("RSA-OAEP", {}),
    "S-109 JWE with a compressed bomb": wrapped("dir", { zip: "DEF" }),
    "S-109 PBES2 with 2^31 rounds": wrapped("PBES2-HS256+A128KW", { p2c: 2 ** 31, p2s: "AAAA" }),
    "S-109 JSON serialization": JSON.stringify({ payload, signatures: [{ protected: header, signature }] }),
    "S-109 SD-JWT": `${token}~WyJhIiwiYiJd~`,
  };
  const ask = async (text: string) => {
    const response = await postForm(`${url}/oauth2/introspect`, { token: text }, { authorization: internalBasic });
    if (JSON.stringify(await response.json()) !== '{"active":false}')
      throw new Error("a hostile token was not refused");
  };
  const before = residentMegabytes(pid);
  const figures: Figure[] = [];
  for (const [name, text] of Object.entries(hostile)) {
    figures.push(figure(name, await cost(pid, 100, () => ask(text)), "ms of processor", 2));
  }
  return [...figures, figure("S-109 memory grown by", residentMegabytes(pid) - before, "MB", 5)];
}

/** What somebody who measures learns of whether an account exists. */
async function unknownAndKnown(url: string, email: string): Promise<Figure[]> {
  const samples = 500;
  const login = async (who: string) => {
    const browser = new TestBrowser();
    await browser.get(authorizeUrl(url));
    const page = await browser.get(`${url}/login`);
    const csrf = /name="csrf" value="([^"]+)"/.exec(await page.text())?.[1] ?? "";
    const from = performance.now();
    await statusOf(browser.post(`${url}/login`, { csrf, email: who, password: "a wrong password" }));
    return performance.now() - from;
  };
  const reset = async (who: string) => {
    const from = performance.now();
    await statusOf(postJson(`${url}/api/users/password-reset`, { email: who }));
    return performance.now() - from;
  };
  const verification = async (who: string) => {
    const from = performance.now();
    await statusOf(postJson(`${url}/api/users/email-verification`, { email: who }));
    return performance.now() - from;
  };
  // the login page that an application opened for an address has the passkey's challenge
  const passkeyBegin = async (who: string) => {
    const browser = new TestBrowser();
    const asked = await browser.get(authorizeUrl(url, { extra: { login_hint: who } }));
    const page = new URL(asked.headers.get("location") ?? "", url).href;
    const from = performance.now();
    await statusOf(browser.get(page));
    return performance.now() - from;
  };
  // every account fails once: no limit is ever met
  const accounts = [email];
  while (accounts.length < samples + 20) accounts.push((await signUp(url)).email);
  const compare = async (call: (who: string) => Promise<number>) => {
    const [known, unknown]: [number[], number[]] = [[], []];
    for (let n = 0; n < samples + 20; n++) {
      const pair = [
        async () => known.push(await call(accounts[n] ?? "")),
        async () => unknown.push(await call(`nobody-${n}@example.test`)),
      ];
      for (const one of n % 2 === 0 ? pair : pair.reverse()) await one();
    }
    return { known: known.slice(20), unknown: unknown.slice(20) };
  };
  const logins = await compare(login);
  const resets = await compare(reset);
  const verifications = await compare(verification);
  const begins = await compare(passkeyBegin);
  const apart = ({ known, unknown }: typeof logins) => Math.abs(median(known) / median(unknown) - 1) * 100;
  return [
    figure("S-048 medians of known and unknown accounts' logins apart by", apart(logins), "%", 5),
    figure("S-048 the two told apart (1 - p of Mann-Whitney)", 1 - mannWhitney(logins.known, logins.unknown), "", 0.99),
    figure("S-167 medians of known and unknown accounts' resets apart by", apart(resets), "%", 5),
    figure("S-167 medians of known and unknown accounts' verifications apart by", apart(verifications), "%", 5),
    figure("S-048 medians of known and unknown accounts' passkey challenges apart by", apart(begins), "%", 5),
  ];
}

/** Two-sided p by the normal approximation, which is good for hundreds of samples. */
function mannWhitney(a: readonly number[], b: readonly number[]): number {
  const all = [...a.map((value) => ({ value, ofA: true })), ...b.map((value) => ({ value, ofA: false }))];
  all.sort((x, y) => x.value - y.value);
  const rankSum = all.reduce((sum, { ofA }, index) => sum + (ofA ? index + 1 : 0), 0);
  const u = rankSum - (a.length * (a.length + 1)) / 2;
  const mean = (a.length * b.length) / 2;
  const deviation = Math.sqrt((a.length * b.length * (a.length + b.length + 1)) / 12);
  return 2 * (1 - normal(Math.abs(u - mean) / deviation));
}

/** The standard normal distribution (Abramowitz and Stegun 26.2.17). */
function normal(z: number): number {
  const t = 1 / (1 + 0.2316419 * z);
  const poly = t * (0.31938153 + t * (-0.356563782 + t * (1.781477937 + t * (-1.821255978 + t * 1.330274429))));
  return 1 - (Math.exp((-z * z) / 2) / Math.sqrt(2 * Math.PI)) * poly;
}
