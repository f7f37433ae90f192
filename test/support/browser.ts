import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { it } from "@jest/globals";
import { type Browser, type BrowserContext, type BrowserContextOptions, chromium, type Page } from "playwright-core";
import { findChromium } from "./chromium.ts";

const found = findChromium();

/**
 * A test in a browser; without one it is reported as skipped, by its name and with the reason.
 * @param timeoutMs of a test that does much
 */
export function inBrowser(name: string, work: () => Promise<void>, timeoutMs = 300_000): void {
  if (found !== null) it(name, work, timeoutMs);
  else skip(name, "Chromium, on the PATH or at CHROMIUM_PATH");
}

/** @param needs what this machine has not */
export function skip(name: string, needs: string): void {
  const title = `${name} (needs ${needs})`;
  // by hand, too: Jest does not name the tests of a file in which all are skipped
  process.stderr.write(`skipped: ${title}\n`);
  it.skip(title, () => {});
}

/** Null where there is no Chromium. */
export async function launchChromium(): Promise<Browser | null> {
  if (found === null) return null;
  return chromium.launch({
    executablePath: found.executablePath,
    env: { ...(process.env as Record<string, string>), ...found.env },
    args: [
      "--headless",
      "--no-sandbox",
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
    ],
  });
}

/** A browser profile of its own. It collects what the console and the pages complain of. */
export interface Profile {
  readonly context: BrowserContext;
  readonly page: Page;
  /** Errors of the console, of scripts, and refusals of the content security policy; not the status of a page. */
  readonly complaints: string[];
  close(): Promise<void>;
}

/** For a page to do one thing, on a machine that does twenty others (milliseconds). */
export const PAGE_PATIENCE_MS = 90_000;

export async function openProfile(browser: Browser | null, options: BrowserContextOptions = {}): Promise<Profile> {
  if (browser === null) throw new Error("no browser was started");
  const context = await browser.newContext(options);
  context.setDefaultTimeout(PAGE_PATIENCE_MS);
  const complaints: string[] = [];
  const watch = (page: Page) => {
    page.on("pageerror", (error) => complaints.push(String(error)));
    page.on("console", (message) => {
      // a page answered with 4xx is logged as an error, too
      if (message.type() === "error" && !message.text().startsWith("Failed to load resource: the server responded")) {
        complaints.push(message.text());
      }
    });
  };
  context.on("page", watch);
  const page = await context.newPage();
  return { context, page, complaints, close: () => context.close() };
}

/** What a page asks for from now on takes so long to be answered (milliseconds). */
export async function slowDown(page: Page, latency: number): Promise<void> {
  if (latency === 0) return;
  const session = await page.context().newCDPSession(page);
  await session.send("Network.enable");
  const conditions = { offline: false, latency, downloadThroughput: -1, uploadThroughput: -1 };
  await session.send("Network.emulateNetworkConditions", conditions);
}

/** The second origin: a client's server that only says what reached it. */
export interface ClientServer {
  readonly origin: string;
  /** Path and query of every request, oldest first. */
  readonly requests: string[];
  close(): Promise<void>;
}

export async function startClientServer(host = "127.0.0.1"): Promise<ClientServer> {
  const requests: string[] = [];
  const server = createServer((request, response) => {
    if (request.url !== "/favicon.ico") requests.push(request.url ?? "");
    response.setHeader("content-type", "text/html; charset=utf-8");
    response.end('<!doctype html><html lang="en"><title>Client</title><h1>Client</h1>');
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(0, host, resolve);
  });
  const { port } = server.address() as AddressInfo;
  return {
    origin: `http://${host.includes(":") ? `[${host}]` : host}:${port}`,
    requests,
    close: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** A node of the accessibility tree, as a screen reader gets it. */
export interface AccessibleNode {
  readonly role: string;
  readonly name: string;
  readonly description: string;
  readonly invalid: boolean;
  readonly focused: boolean;
}

export async function accessibilityTree(page: Page): Promise<AccessibleNode[]> {
  const session = await page.context().newCDPSession(page);
  const { nodes } = await session.send("Accessibility.getFullAXTree");
  await session.detach();
  return nodes
    .filter((node) => !node.ignored)
    .map((node) => {
      const property = (name: string) => node.properties?.find((one) => one.name === name)?.value.value as unknown;
      const invalid = property("invalid");
      return {
        role: String(node.role?.value ?? ""),
        name: String(node.name?.value ?? ""),
        description: String(node.description?.value ?? ""),
        invalid: invalid !== undefined && invalid !== "false",
        focused: property("focused") === true,
      };
    });
}
