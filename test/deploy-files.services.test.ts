import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import path from "node:path";
import { expect, it } from "@jest/globals";
import { parse } from "yaml";
import { PATHS } from "../src/oauth/paths.ts";
import { freePorts } from "./support/app.ts";
import { checkConfiguration, itWithHaproxy, startHaproxy } from "./support/haproxy.ts";

const root = path.resolve(import.meta.dirname, "..");
const read = (file: string) => readFileSync(path.join(root, file), "utf8");

interface Service {
  image?: string;
  build?: { dockerfile: string };
  init?: boolean;
  read_only?: boolean;
  tmpfs?: string[];
  cap_drop?: string[];
  security_opt?: string[];
  environment?: Record<string, string>;
  networks?: Record<string, { ipv4_address?: string }>;
}
const compose = parse(read("docker-compose.yml"), { merge: true }) as {
  services: Record<string, Service>;
  networks: { default: { ipam: { config: { subnet: string; ip_range: string }[] } } };
};

it("C-88 compose builds each image once and confines what it builds, and the proxy", () => {
  const built = Object.values(compose.services).filter(({ build }) => build !== undefined);
  const files = built.map(({ build }) => build?.dockerfile);
  expect(files.sort()).toEqual(["Containerfile", "examples/notification-service/Containerfile"]);
  for (const name of ["auth-1", "auth-2", "proxy", "notification-service"]) {
    expect([name, compose.services[name]]).toEqual([
      name,
      expect.objectContaining({
        init: true,
        read_only: true,
        tmpfs: ["/tmp"],
        cap_drop: ["ALL"],
        security_opt: ["no-new-privileges:true"],
      }),
    ]);
  }
});

it("C-88 the replicas trust the proxy's address only, which no other container can get", () => {
  const address = compose.services["proxy"]?.networks?.["default"]?.ipv4_address;
  expect(address).toBe("172.30.0.10");
  expect(compose.services["auth-1"]?.environment?.["TRUST_PROXY"]).toBe(address);
  expect(compose.networks.default.ipam.config).toEqual([{ subnet: "172.30.0.0/24", ip_range: "172.30.0.128/25" }]);
});

it("C-88 the container asks for liveness, the proxy for readiness", async () => {
  const [defaults = ""] = read("deploy/haproxy.cfg").split("\nfrontend");
  expect(defaults).toContain("option httpchk GET /readyz");
  const [, check = "[]"] = /HEALTHCHECK[\s\S]*?CMD (\[.*\])/.exec(read("Containerfile")) ?? [];
  const [program, ...args] = JSON.parse(check) as string[];
  expect(program).toBe("node");
  let alive = true;
  const [port = 0] = await freePorts(1);
  const unready = await listen(port, (url) => (url === "/healthz" && alive ? 200 : 503));
  const judge = async () => {
    const child = spawn(process.execPath, args, { env: { INTERNAL_HTTP_PORT: String(port) } });
    return (await once(child, "exit"))[0] as number;
  };
  expect(await judge()).toBe(0);
  alive = false;
  expect(await judge()).toBe(1);
  unready.close();
  expect(await judge()).toBe(1);
});

itWithHaproxy("C-88 haproxy takes its configuration, where no name of a replica can be resolved", async (haproxy) => {
  checkConfiguration(haproxy);
});

itWithHaproxy(
  "C-88 haproxy serves the key set and the metadata while no replica is ready, and nothing else",
  async (haproxy) => {
    const [proxy = 0, http = 0, internal = 0, absent = 0, ...others] = await freePorts(6);
    const [grpc = 0, connect = 0] = others;
    const seen: string[] = [];
    const replica = await listen(http, (url) => {
      seen.push(url);
      return 200;
    });
    const probes = await listen(internal, (url) => (url === "/healthz" ? 200 : 503));
    const running = await startHaproxy(haproxy, { http: proxy, grpc, internal: connect }, [
      { http, grpc: absent, internal },
      { http: absent, grpc: absent, internal: absent },
    ]);
    try {
      const ask = async (url: string) => (await fetch(`http://127.0.0.1:${proxy}${url}`)).status;
      // checks take a moment to find out
      for (let tries = 0; (await ask("/login")) !== 503; tries++) expect(tries).toBeLessThan(1_000);
      seen.length = 0;
      for (const url of [PATHS.jwks, "/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"]) {
        expect([url, await ask(url)]).toEqual([url, 200]);
      }
      expect(await ask("/login")).toBe(503);
      expect(await ask("/oauth2/token")).toBe(503);
      expect(seen).toHaveLength(3);
    } finally {
      await running.stop();
      replica.close();
      probes.close();
    }
  },
);

async function listen(port: number, status: (url: string) => number): Promise<Server> {
  const server = createServer((request, response) => response.writeHead(status(request.url ?? "")).end());
  await new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve));
  return server;
}
