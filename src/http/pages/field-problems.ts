import type { AuthError, FormRules } from "../../errors.ts";

/** What a page says of each field and rule; `taken` is no rule of the address itself. */
export type FieldTexts = {
  readonly [Field in keyof FormRules]: Readonly<
    Record<FormRules[Field] | (Field extends "email" ? "taken" : never), string>
  >;
};

/** A wrong field of a form and what is wrong with it. */
export type FieldProblem = {
  [Field in keyof FormRules]: { readonly field: Field; readonly rule: keyof FieldTexts[Field] };
}[keyof FormRules];

const formFields: ReadonlySet<string> = new Set(["email", "nickname", "password"] satisfies (keyof FormRules)[]);

/** The wrong fields of a form, in the form's order. */
export function fieldProblems(error: AuthError | null): FieldProblem[] {
  if (error?.code === "email_taken") return [{ field: "email", rule: "taken" }];
  const named = (error?.violations ?? []).map(({ field, rule }) => ({
    field: field === "newPassword" ? "password" : field,
    rule,
  }));
  return named.filter(({ field }) => formFields.has(field)) as FieldProblem[];
}

export function textOf(texts: FieldTexts, { field, rule }: FieldProblem): string {
  const ofField: Readonly<Record<string, string>> = texts[field];
  return ofField[rule] ?? "";
}
