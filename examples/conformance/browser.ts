/** What the suite's own browser does at this service's pages ("browser" and "override" of its configurations). */

type Command = (string | number)[];
interface Task {
  readonly task: string;
  readonly match: string;
  readonly optional?: boolean;
  readonly commands?: readonly Command[];
}
interface Automation {
  readonly match: string;
  /** For so many visits; then the next one that matches. */
  readonly "match-limit"?: number;
  readonly tasks: readonly Task[];
}

/** The module in which the user denies. */
export const userRejects = "fapi2-security-profile-final-user-rejects-authentication";

const didNotWork = "That didn.t work";

/** Waits for a text and hands the page in as the screenshot that a module asks for. */
const screenshot = (text: string, optional = false): Command => [
  "wait",
  "xpath",
  "//*",
  10,
  text,
  optional ? "update-image-placeholder-optional" : "update-image-placeholder",
];

export function automationOf(issuer: string, account: { email: string; password: string }) {
  const login = (before: readonly Command[] = []): Task => ({
    task: "Sign in",
    match: `${issuer}/login*`,
    optional: true,
    commands: [
      ...before,
      ["text", "name", "email", account.email],
      ["text", "name", "password", account.password],
      ["click", "css", "button[type=submit]"],
    ],
  });
  const consent = (decision: "allow" | "deny"): Task => ({
    task: "Consent",
    match: `${issuer}/consent*`,
    optional: true,
    commands: [["click", "css", `button[value=${decision}]`]],
  });
  const back: Task = {
    task: "Back at the suite",
    match: "*/test/a/*/callback*",
    commands: [["wait", "id", "submission_complete", 10]],
  };
  const authorization = (tasks: readonly Task[]): Automation => ({ match: `${issuer}/oauth2/authorize*`, tasks });
  const logout = (tasks: readonly Task[]): Automation => ({ match: `${issuer}/connect/logout*`, tasks });
  const signIn = authorization([login(), consent("allow"), back]);

  const refused = { browser: [authorization([page(`${issuer}/oauth2/authorize*`, didNotWork)])] };
  const again = { browser: [authorization([login([screenshot("Sign in", true)]), consent("allow"), back])] };
  const logoutRefused = { browser: [signIn, logout([page(`${issuer}/connect/logout*`, didNotWork)])] };
  const loggedOut = { browser: [signIn, logout([page(`${issuer}/connect/logout*`, "You are signed out")])] };
  const asksFirst: Task = {
    task: "Yes, sign out",
    match: `${issuer}/connect/logout*`,
    commands: [["click", "css", "button[type=submit]"]],
  };
  const confirmed = { browser: [signIn, logout([asksFirst, page(`${issuer}/connect/logout*`, "You are signed out")])] };
  const denied = { browser: [authorization([login(), consent("deny"), back])] };
  // the first visit ends at the client, the second one at a page
  const refusedLater = { browser: [{ ...signIn, "match-limit": 1 }, ...refused.browser] };
  // the first visit ends at the login page
  const looked: Task = {
    task: "Look at the login page",
    match: `${issuer}/login*`,
    commands: [["wait", "xpath", "//*", 10, "Sign in"]],
  };
  const signsInLater = { browser: [{ ...authorization([looked]), "match-limit": 1 }, signIn] };
  // a person looks for the logo or the link in the screenshot; nobody has to sign in for that
  const seen = { browser: [authorization([{ ...looked, commands: [screenshot("Sign in")] }])] };
  // a page, or an error that the client gets
  const refusedAnyhow = {
    browser: [
      authorization([
        { ...page(`${issuer}/oauth2/authorize*`, didNotWork), optional: true },
        { ...back, optional: true },
      ]),
    ],
  };
  return {
    browser: [signIn, logout([{ task: "Back at the suite", match: "*/test/a/*/post_logout_redirect*" }])],
    override: {
      "oidcc-prompt-login": again,
      "oidcc-max-age-1": again,
      "oidcc-ensure-registered-redirect-uri": refused,
      "oidcc-ensure-request-object-with-redirect-uri": refused,
      "oidcc-ensure-redirect-uri-in-authorization-request": refused,
      "oidcc-redirect-uri-query-added": refused,
      "oidcc-redirect-uri-query-mismatch": refused,
      "oidcc-rp-initiated-logout-bad-id-token-hint": logoutRefused,
      "oidcc-rp-initiated-logout-modified-id-token-hint": logoutRefused,
      "oidcc-rp-initiated-logout-bad-post-logout-redirect-uri": logoutRefused,
      "oidcc-rp-initiated-logout-query-added-to-post-logout-redirect-uri": logoutRefused,
      "oidcc-rp-initiated-logout-no-id-token-hint": logoutRefused,
      "oidcc-rp-initiated-logout-no-params": confirmed,
      "oidcc-rp-initiated-logout-only-state": confirmed,
      "oidcc-rp-initiated-logout-no-post-logout-redirect-uri": loggedOut,
      "oidcc-registration-logo-uri": seen,
      "oidcc-registration-policy-uri": seen,
      "oidcc-registration-tos-uri": seen,
      [userRejects]: denied,
      "fapi2-security-profile-final-par-attempt-reuse-request_uri": refusedLater,
      "fapi2-security-profile-final-par-attempt-to-use-expired-request_uri": refused,
      "fapi2-security-profile-final-par-attempt-to-use-request_uri-for-different-client": refused,
      "fapi2-security-profile-final-par-ensure-reused-request-uri-prior-to-auth-completion-succeeds": signsInLater,
      "fapi2-security-profile-final-ensure-unsigned-authorization-request-without-using-par-fails": refusedAnyhow,
    },
  };
}

function page(match: string, text: string): Task {
  return { task: "A page that says so", match, commands: [screenshot(text)] };
}
