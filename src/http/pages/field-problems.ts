import type { AuthError, FieldRule } from "../../errors.ts";

/** What a page can say about a field. The type of `messages.fields` demands a text for each in every language. */
export type FieldProblem =
  | "email.invalid"
  | "email.too_long"
  | "email.taken"
  | "nickname.length"
  | "nickname.characters"
  | "password.too_short"
  | "password.too_long"
  | "password.too_common"
  | "password.other";

/** The problem that a page names for a rule; `other` for each rule without a line. */
const problems: Record<string, Partial<Record<FieldRule, FieldProblem>> & { readonly other: FieldProblem }> = {
  email: { too_long: "email.too_long", other: "email.invalid" },
  nickname: { forbidden_characters: "nickname.characters", other: "nickname.length" },
  password: {
    too_short: "password.too_short",
    too_long: "password.too_long",
    too_common: "password.too_common",
    other: "password.other",
  },
};

/** The wrong fields of a form, in the form's order, each with its problem. */
export function fieldProblems(error: AuthError | null): Record<string, FieldProblem> {
  if (error?.code === "email_taken") return { email: "email.taken" };
  const found: Record<string, FieldProblem> = {};
  for (const violation of error?.violations ?? []) {
    const field = violation.field === "newPassword" ? "password" : violation.field;
    const ofField = problems[field];
    if (ofField !== undefined) found[field] = ofField[violation.rule] ?? ofField.other;
  }
  return found;
}
