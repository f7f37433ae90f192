import { domainToASCII, domainToUnicode } from "node:url";
import { z } from "zod";
import type { Config } from "../config/config.ts";
import type { Context } from "../context.ts";
import { AuthError, type FieldRule, type FieldViolation, type FormRules } from "../errors.ts";
import type { StandardClaims } from "../store/users.ts";
import { isVisible, NOT_VISIBLE, turnsText } from "../store/visible-text.ts";
import { isBreached } from "./breached-passwords.ts";
import { isCommonPassword } from "./common-passwords.ts";

/** Limits of user input. Lengths count code points. */
const maxEmail = 254;
const maxNickname = 50;
const maxPassword = 128;

const length = (text: string) => [...text].length;

/** Characters of a domain. */
const maxDomain = 255;

/**
 * The one form in which an address is stored and compared: trimmed, NFKC, lower case, and an internationalised domain in its ASCII form
 * (RFC 5890), in which browsers send it.
 */
export function normaliseEmail(text: string): string {
  const plain = text.normalize("NFKC").trim().toLowerCase().normalize("NFKC");
  const at = plain.lastIndexOf("@") + 1;
  const domain = plain.slice(at);
  // what is ASCII stays as it is: as the host of a URL `1` would become 0.0.0.1
  const isInternational = /^[a-z0-9.\-\u0080-\u{10ffff}]+$/u.test(domain) && /[^\0-\x7f]/.test(domain);
  if (at === 0 || !isInternational || domain.length > maxDomain) return plain;
  const ascii = domainToASCII(domain);
  return ascii === "" ? plain : plain.slice(0, at) + ascii;
}

/** An address as people read it: its domain in Unicode. */
export function readableEmail(email: string): string {
  const at = email.lastIndexOf("@") + 1;
  return email.slice(0, at) + (domainToUnicode(email.slice(at)) || email.slice(at));
}

/** A message of a zod check on a field that carries its rule. */
const broken = <Field extends keyof FormRules>(_field: Field, rule: FormRules[Field], message: string) => ({
  message,
  params: { rule },
});

const email = z
  .string("must be a string")
  .transform(normaliseEmail)
  .refine((text) => text.length <= maxEmail, broken("email", "too_long", `must have at most ${maxEmail} characters`))
  .refine(
    (text) => text.length > maxEmail || z.regexes.html5Email.test(text),
    broken("email", "not_an_email", "must be an e-mail address"),
  )
  .meta({
    minLength: 3,
    maxLength: maxEmail,
    description:
      "Compared without case and without spaces around it; an internationalised domain is answered and sent on in its ASCII form.",
  });

const nickname = z
  .string("must be a string")
  .transform((text) => text.normalize("NFC").trim())
  .refine(
    (text) => length(text) >= 1 && length(text) <= maxNickname,
    broken("nickname", "wrong_length", `must have 1 to ${maxNickname} characters`),
  )
  .refine(
    (text) => !/\p{Cc}|\p{Cs}/u.test(text) && !turnsText(text),
    broken("nickname", "forbidden_characters", "must not hold control characters, those of text direction included"),
  )
  .refine(isVisible, broken("nickname", "forbidden_characters", NOT_VISIBLE))
  .meta({
    minLength: 1,
    description: `1 to ${maxNickname} characters, at least one of them visible, without spaces around them, which are cut off.`,
  });

/** A new password, as documents describe it: `passwordProblem` judges it, as one rule after another needs the whole input. */
export function newPasswordSchema({ passwordMinLength }: Pick<Config, "passwordMinLength">) {
  return z.string().meta({ minLength: passwordMinLength, maxLength: maxPassword, format: "password" });
}

/** The password that a user has: any text is compared, and what is no text counts as wrong. */
export const currentPassword = z.string();

/** The token of a mailed link: 32 random bytes in base64url. */
export const linkToken = z.string().regex(/^[A-Za-z0-9_-]{43}$/);

/** An address that is to be an account's. */
export const newEmail = email;

/** The fields of a sign-up. */
export function signUpSchema(config: Pick<Config, "passwordMinLength">) {
  return z.object({ email, password: newPasswordSchema(config), nickname });
}

/** @throws AuthError invalid_input, with one violation for each wrong field */
function check<T>(schema: z.ZodType<T>, input: unknown): T {
  const parsed = schema.safeParse(input);
  if (parsed.success) return parsed.data;
  const violations = new Map<string, FieldViolation>();
  for (const issue of parsed.error.issues) {
    const field = String(issue.path[0] ?? "body");
    if (!violations.has(field)) violations.set(field, { field, rule: ruleOf(issue), message: issue.message });
  }
  throw invalidInput([...violations.values()]);
}

function ruleOf(issue: z.core.$ZodIssue): FieldRule {
  switch (issue.code) {
    case "invalid_type":
      return "wrong_type";
    case "too_small":
      return "too_short";
    case "too_big":
      return "too_long";
    case "unrecognized_keys":
      return "unknown_field";
    case "custom":
      return (issue.params?.["rule"] as FieldRule | undefined) ?? "wrong_format";
    default:
      return "wrong_format";
  }
}

export function invalidInput(violations: readonly FieldViolation[]): AuthError {
  const named = violations.map(({ field, message }) => `${field} ${message}`).join("; ");
  return new AuthError("invalid_input", named, { violations });
}

/** What the check of a password needs: it may ask a service. */
type Asking = Pick<Context, "config" | "log" | "metrics">;

/** Rules for a new password: its length, and that it is not a common one (NIST SP 800-63B-4 section 3.1.1.2). */
async function passwordProblem(
  ctx: Asking,
  password: unknown,
  personal: readonly string[],
): Promise<{ readonly rule: FormRules["password"]; readonly message: string } | null> {
  const { config } = ctx;
  if (typeof password !== "string") return { rule: "wrong_type", message: "must be a string" };
  // a very long password is refused without reading all of it
  const characters = password.length > 2 * maxPassword ? password.length : length(password.normalize("NFC"));
  if (characters < config.passwordMinLength)
    return { rule: "too_short", message: `must have at least ${config.passwordMinLength} characters` };
  if (characters > maxPassword) return { rule: "too_long", message: `must have at most ${maxPassword} characters` };
  if (/\p{Cs}/u.test(password)) return { rule: "forbidden_characters", message: "must be valid Unicode" };
  // forms cannot send NUL, and some programs would end the password there
  if (password.includes("\0")) return { rule: "forbidden_characters", message: "must not hold a NUL character" };
  if (config.passwordBlocklist && (await isCommonPassword(password, personal))) {
    return { rule: "too_common", message: "is too common: choose another, or a few words" };
  }
  if (await isBreached(ctx, password)) {
    return { rule: "too_common", message: "was seen in a breach of another service: choose another, or a few words" };
  }
  return null;
}

export interface SignUpInput {
  readonly email: string;
  readonly password: string;
  readonly nickname: string;
}

/** @throws AuthError invalid_input naming every wrong field */
export async function readSignUp(ctx: Asking, input: Record<string, unknown>): Promise<SignUpInput> {
  const personal = typeof input["email"] === "string" ? [normaliseEmail(input["email"])] : [];
  const problem = await passwordProblem(ctx, input["password"], personal);
  const violations: FieldViolation[] = [];
  let names = { email: "", nickname: "" };
  try {
    names = readNames(ctx.config, input);
  } catch (error) {
    if (!(error instanceof AuthError)) throw error;
    violations.push(...error.violations);
  }
  if (problem !== null) violations.push({ field: "password", ...problem });
  if (violations.length > 0) throw invalidInput(violations);
  return { ...names, password: input["password"] as string };
}

/** The fields of a sign-up without a password. @throws AuthError invalid_input naming every wrong field */
export function readNames(config: Config, input: { readonly email?: unknown; readonly nickname?: unknown }) {
  return check(signUpSchema(config).pick({ email: true, nickname: true }), input);
}

/** @throws AuthError invalid_input */
export async function readNewPassword(
  ctx: Asking,
  field: string,
  value: unknown,
  personal: string[] = [],
): Promise<string> {
  const problem = await passwordProblem(ctx, value, personal);
  if (problem !== null) throw invalidInput([{ field, ...problem }]);
  return value as string;
}

/** @throws AuthError invalid_input */
export function readNickname(value: unknown): string {
  return check(z.object({ nickname }), { nickname: value }).nickname;
}

/** What a user calls a passkey, by the rules of a nickname. @throws AuthError invalid_input */
export function readPasskeyName(value: unknown): string {
  return check(z.object({ name: nickname }), { name: value }).name;
}

/** @throws AuthError invalid_input */
export function readEmail(value: unknown): string {
  return check(z.object({ email }), { email: value }).email;
}

const role = z.string().regex(/^ROLE_[A-Z0-9_]{1,60}$/, "must look like ROLE_USER");

/** @throws AuthError invalid_input */
export function readRoles(value: unknown): string[] {
  const roles = z.object({ roles: z.array(role).min(1, "must hold at least one role").max(50) });
  return [...new Set(check(roles, { roles: value }).roles)];
}

const text = (max: number) =>
  z
    .string("must be a string")
    .min(1, "must not be empty")
    .max(max, `must have at most ${max} characters`)
    .refine((value) => !/\p{Cs}|\0/u.test(value) && !turnsText(value), "must be valid text")
    .refine(isVisible, NOT_VISIBLE);
const webUrl = text(2000).refine(
  (value) => URL.canParse(value) && /^https?:$/.test(new URL(value).protocol),
  "must be an http or https URL",
);

/** OpenID Connect Core section 5.1. Unknown members are refused, so that a misspelt one is noticed. */
const standardClaims = z
  .strictObject({
    name: text(200),
    given_name: text(200),
    family_name: text(200),
    middle_name: text(200),
    preferred_username: text(200),
    profile: webUrl,
    picture: webUrl,
    website: webUrl,
    gender: text(50),
    birthdate: z
      .string()
      .regex(/^\d{4}(-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01]))?$/, "must be YYYY-MM-DD or YYYY")
      .refine(isDay, "must be a day that the calendar has"),
    zoneinfo: text(100).refine(isTimeZone, "must be a zone of the tz database, as Europe/Paris"),
    locale: z.string().regex(/^[A-Za-z]{2,8}([-_][A-Za-z0-9]{1,8})*$/, "must be a language tag, as en-GB"),
    phone_number: z.string().regex(/^\+[1-9]\d{4,14}(;ext=\d{1,10})?$/, "must be E.164, as +14255551212"),
    phone_number_verified: z.boolean("must be true or false"),
    address: z
      .strictObject({
        formatted: text(500),
        street_address: text(300),
        locality: text(100),
        region: text(100),
        postal_code: text(30),
        country: text(100),
      })
      .partial(),
  })
  .partial();

/** The year 0000 stands for one that is not told (OpenID Connect Core section 5.1): it has a 29 February. */
function isDay(date: string): boolean {
  const [year = 0, month, day] = date.split("-").map(Number);
  if (month === undefined || day === undefined) return true;
  // the last day of a month is the day 0 of the next one
  return day <= new Date(Date.UTC(year === 0 ? 2000 : year, month, 0)).getUTCDate();
}

function isTimeZone(name: string): boolean {
  try {
    new Intl.DateTimeFormat("en", { timeZone: name });
    return true;
  } catch {
    return false;
  }
}

/** @throws AuthError invalid_input naming every wrong claim */
export function readClaims(value: unknown): StandardClaims {
  return check(standardClaims, value);
}
