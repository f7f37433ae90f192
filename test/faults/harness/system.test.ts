import { spawn } from "node:child_process";
import { once } from "node:events";
import { expect, test } from "@jest/globals";
import { System } from "./system.ts";

test("I10 finds every process that ended by itself, nodes and brokers of clusters too", async () => {
  const child = spawn(process.execPath, ["--version"], { stdio: "ignore" });
  await once(child, "exit");
  const [alive, ended] = [process.pid, child.pid ?? 0];
  const deadOf = (parts: object): string[] => Reflect.get(System.prototype, "dead").call({ replicas: [], parts });
  const cluster = { brokers: ["a", "b"], pid: (broker: number) => [alive, ended][broker] };
  const galera = { nodes: [{ pid: ended }, { pid: alive }] };
  expect(deadOf({ cluster, galera })).toEqual(["broker 1", "Galera node 0"]);
  expect(deadOf({ database: { pid: ended }, kafka: { pid: ended } })).toEqual(["MariaDB", "Kafka"]);
  expect(deadOf({ database: { pid: null }, kafka: { pid: alive } })).toEqual([]);
});
