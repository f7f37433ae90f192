import { nearest } from "../nearest.ts";
import { type Environment, valueIn } from "./reader.ts";
import { VARIABLES } from "./variables.ts";

/** A variable of the environment that is no setting, and the setting that was probably meant. */
export interface MisspeltSetting {
  readonly name: string;
  readonly meant: string;
}

/** Settings that other programs have too: one more S (`HTTPS_PORT`, `LOG_LEVELS`) makes the name of another of theirs. */
const common: readonly string[] = [
  ...["NODE_ENV", "LOG_LEVEL", "HTTP_HOST", "HTTP_PORT", "GRPC_HOST", "GRPC_PORT", "WORKERS", "DATABASE_URL"],
];

/**
 * Variables whose names are near to that of a setting. A setting that is set was not misspelt: what is near to it is another program's.
 * Variables that are empty count as unset.
 */
export function misspeltSettings(env: Environment): MisspeltSetting[] {
  const known = Object.entries(VARIABLES).flatMap(([name, { kind }]) =>
    kind === "secret" ? [name, `${name}_FILE`] : [name],
  );
  const isSet = (name: string) => valueIn(env, name) !== null;
  const open = known.filter((name) => !isSet(name));
  return Object.keys(env).flatMap((name) => {
    if (!isSet(name) || known.includes(name)) return [];
    const meant = nearest(name.toUpperCase(), open);
    return meant === null || isOfOthers(name, meant) ? [] : [{ name, meant }];
  });
}

function isOfOthers(name: string, meant: string): boolean {
  return (
    common.includes(meant) && name.length === meant.length + 1 && name.replaceAll("S", "") === meant.replaceAll("S", "")
  );
}
