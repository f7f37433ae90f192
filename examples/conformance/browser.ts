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
  readonly tasks: readonly Task[];
}

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
      "fapi2-security-profile-final-user-rejects-authentication": denied,
    },
  };
}

function page(match: string, text: string): Task {
  return { task: "A page that says so", match, commands: [screenshot(text)] };
}
