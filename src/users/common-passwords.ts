/** Loaded at the first use: the list is used only in production or with PASSWORD_BLOCKLIST. */
let common: Promise<ReadonlySet<string>> | undefined;

async function load(): Promise<ReadonlySet<string>> {
  const { dictionary } = await import("@zxcvbn-ts/language-common");
  return new Set(
    Object.values(dictionary)
      .flat()
      .map((word) => String(word).toLowerCase()),
  );
}

/**
 * Is it a common password, or the account's own address? Compares with a built-in list, without a network request.
 * @param personal what an attacker would try for this account: its e-mail address
 */
export async function isCommonPassword(password: string, personal: readonly string[]): Promise<boolean> {
  common ??= load();
  const word = password.normalize("NFC").toLowerCase();
  const names = [...personal, ...personal.map((address) => address.split("@")[0] ?? ""), "auth-service", "authservice"];
  return (await common).has(word) || names.includes(word);
}
