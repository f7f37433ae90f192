import type { Context } from "../context.ts";
import type { Passwords } from "../crypto/passwords.ts";

/** Reading may go on, and a replay found out ends what it replayed, however little time its sender gave. */
const always = /^(find|list|latest)|^(revoke|countWrongVerifier)$/;

/** The context for work that may come to nothing: before every password that is hashed and every write, `check` may throw. */
export function checkedContext<C extends Context>(ctx: C, check: () => void): C {
  const { store, passwords, limits } = ctx;
  return {
    ...ctx,
    store: new Proxy(store, {
      get(_, name) {
        const value: unknown = Reflect.get(store, name, store);
        return typeof value === "object" && value !== null ? checked(value, check) : value;
      },
    }),
    passwords: checkedPasswords(passwords, check),
    limits: checked(limits, check),
  };
}

/** The same verbs, each after the check. */
function checked<T extends object>(target: T, check: () => void): T {
  return new Proxy(target, {
    get(_, name) {
      const value: unknown = Reflect.get(target, name, target);
      if (typeof value !== "function") return value;
      if (typeof name !== "string" || always.test(name)) return value.bind(target);
      return (...parameters: unknown[]) => {
        check();
        return value.apply(target, parameters);
      };
    },
  });
}

/** Before the wait for a turn, and again when it has come. */
function checkedPasswords(passwords: Passwords, check: () => void): Passwords {
  const twice: Pick<Passwords, "hash" | "verify"> = {
    hash: (password) => passwords.hash(password, check),
    verify: (passwordHash, password) => passwords.verify(passwordHash, password, check),
  };
  const { hash, verify } = checked(twice, check);
  return new Proxy(passwords, {
    get(_, name) {
      const value: unknown =
        name === "hash" ? hash : name === "verify" ? verify : Reflect.get(passwords, name, passwords);
      return typeof value === "function" ? value.bind(passwords) : value;
    },
  });
}
