import { expect, it } from "@jest/globals";
import { readMysqlUrl } from "../../src/net/mysql-url.ts";

it("several hosts, with and without a port, IPv6 among them", () => {
  const url = "mysql://auth:s%40cret,1@db1.example:3307,db2.example,[2001:db8::1]:3308/auth?ssl-mode=REQUIRED";
  expect(readMysqlUrl(url)).toMatchObject({
    hosts: [
      { host: "db1.example", port: 3307 },
      { host: "db2.example", port: 3306 },
      { host: "2001:db8::1", port: 3308 },
    ],
    user: "auth",
    password: "s@cret,1",
    database: "auth",
    sslMode: "REQUIRED",
  });
});

it("an @ in the password is part of it, as in other URLs", () => {
  expect(readMysqlUrl("mysql://u:a@b,c@host/db")).toMatchObject({
    hosts: [{ host: "host", port: 3306 }],
    password: "a@b,c",
  });
});

it("one host", () => {
  expect(readMysqlUrl("mysql://auth@db/auth")).toMatchObject({
    hosts: [{ host: "db", port: 3306 }],
    password: "",
    sslMode: null,
  });
});

it.each([
  "mysql://auth@db1,/auth",
  "mysql://auth@/auth",
  "mysql://auth@db1,db2",
  "mysql://auth@db:0/auth",
  "mysql://auth@db/auth/other",
  "mysql://auth@db/auth#other",
  "mysql://auth@db1:x,db2/auth",
  "mysql://auth:%zz@db/auth",
  "sqlite:./a,b",
  "",
])("%j is none", (url) => {
  expect(readMysqlUrl(url)).toBeNull();
});
