import { randomBytes } from "node:crypto";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { makePrivateFolder } from "../private-folder.ts";
import { sqliteFileOf } from "./database-url.ts";
import type { Reader } from "./reader.ts";

/** The key printed in .env.example. */
const exampleKey = "cmVwbGFjZSB0aGlzIGV4YW1wbGUga2V5IGJlZm9yZSE=";
const keyFileName = "key-encryption-key";
/** Where the key was whatever DATABASE_URL said: one that is there stays in use. */
const olderKeyFile = `./data/${keyFileName}`;

/** Beside the database, which is worth nothing without it. */
function keyFileOf(databaseUrl: string): string {
  const path = sqliteFileOf(databaseUrl) ?? "";
  const beside = path === "" || path === ":memory:" ? olderKeyFile : `${dirname(path)}/${keyFileName}`;
  return !existsSync(beside) && existsSync(olderKeyFile) ? olderKeyFile : beside;
}

/** KEY_ENCRYPTION_KEY; a development service on SQLite that has none makes one beside its database. @returns 32 bytes each, the one that seals first */
export function readKeyEncryptionKeys(
  read: Reader,
  production: boolean,
  databaseUrl: string,
): readonly [Buffer, ...Buffer[]] {
  const text = read.secret("KEY_ENCRYPTION_KEY");
  if (text === null) return [defaultKeyEncryptionKey(read, production, databaseUrl)];
  const [first = "", ...others] = text.split(",").map((each) => each.trim());
  const keyOf = (each: string): Buffer => {
    const key = Buffer.from(each, "base64");
    if (!/^[A-Za-z0-9+/]+={0,2}$/.test(each) || key.length !== 32) {
      read.problem("KEY_ENCRYPTION_KEY", "must be 32 bytes in base64, or several of these with commas between them");
    } else if (production && each === exampleKey) {
      read.problem("KEY_ENCRYPTION_KEY", "is the example of .env.example, which everyone knows");
    }
    return key;
  };
  return [keyOf(first), ...others.map(keyOf)];
}

function defaultKeyEncryptionKey(read: Reader, production: boolean, databaseUrl: string): Buffer {
  if (production || !databaseUrl.startsWith("sqlite:")) {
    read.problem(
      "KEY_ENCRYPTION_KEY",
      `is needed ${production ? "in production" : "with MySQL"}, the same on every replica`,
    );
    return Buffer.alloc(32);
  }
  const keyFile = keyFileOf(databaseUrl);
  if (existsSync(keyFile)) return Buffer.from(readFileSync(keyFile, "utf8"), "base64");
  const key = randomBytes(32);
  if (read.problems.length > 0) return key;
  try {
    makePrivateFolder(dirname(resolve(keyFile)));
    writeFileSync(keyFile, `${key.toString("base64")}\n`, { mode: 0o600 });
  } catch (error) {
    const { code = "" } = error as NodeJS.ErrnoException;
    // no directory: the database cannot be there either, and says why
    if (keyFile !== olderKeyFile && ["EEXIST", "ENOENT", "ENOTDIR"].includes(code)) return key;
    read.problem("KEY_ENCRYPTION_KEY", `cannot be made in ${keyFile} (${code})`);
  }
  return key;
}
