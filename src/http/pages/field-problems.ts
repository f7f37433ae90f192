import type { AuthError } from "../../errors.ts";

/** What a page says of a field: `messages.fields` by `field.rule`. */
const rules: readonly (readonly [field: string, message: RegExp, rule: string])[] = [
  ["email", /^must have at most/, "email.too_long"],
  ["email", /(?:)/, "email.invalid"],
  ["nickname", /control characters/, "nickname.characters"],
  ["nickname", /(?:)/, "nickname.length"],
  ["password", /^must have at least/, "password.too_short"],
  ["password", /^must have at most/, "password.too_long"],
  ["password", /too common/, "password.too_common"],
  ["password", /(?:)/, "password.other"],
];

/** The wrong fields of a form, in the form's order, each with the key of its message. */
export function fieldProblems(error: AuthError | null): Record<string, string> {
  if (error?.code === "email_taken") return { email: "email.taken" };
  const found: Record<string, string> = {};
  for (const violation of error?.violations ?? []) {
    const field = violation.field === "newPassword" ? "password" : violation.field;
    const [, , rule] = rules.find(([name, message]) => name === field && message.test(violation.message)) ?? [];
    if (rule !== undefined) found[field] = rule;
  }
  return found;
}
