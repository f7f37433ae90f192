/** The texts of mails. */
export const en = {
  verify: {
    subject: "Confirm your e-mail address",
    text: "Confirm that this is your e-mail address.",
    button: "Confirm address",
    ignore: "If you did not ask for this, ignore this mail.",
  },
  reset: {
    subject: "Reset your password",
    text: "Somebody asked for a new password for your account. Set it here.",
    button: "Set a new password",
    ignore: "If you did not ask for this, ignore this mail: your password stays as it is.",
  },
  until: (time: string) => `The link works once, until ${time}.`,
  passwordChanged: {
    subject: "Your password was changed",
    CHANGED: "The password of your account was changed.",
    RESET: "The password of your account was set by a mailed link.",
    SET_BY_OPERATOR: "An administrator set the password of your account.",
  },
  deleted: {
    subject: "Your account was deleted",
    text: "Your account and what was stored about you were erased.",
  },
  security: {
    NEW_DEVICE: {
      subject: "New sign-in to your account",
      text: "Your account was used in a browser for the first time.",
    },
    FACTOR_ADDED: { subject: "A sign-in method was added", text: "A sign-in method was added to your account." },
    FACTOR_REMOVED: {
      subject: "A sign-in method was removed",
      text: "A sign-in method was removed from your account.",
    },
    FACTORS_RESET: {
      subject: "Your sign-in methods were reset",
      text: "All second sign-in methods of your account were removed.",
    },
    RECOVERY_CODES_MADE: {
      subject: "Recovery codes were made",
      text: "New recovery codes were made for your account. Earlier ones no longer work.",
    },
    RECOVERY_CODE_USED: { subject: "A recovery code was used", text: "A recovery code of your account was used." },
    EMAIL_CHANGED: {
      subject: "Your e-mail address was changed",
      text: "Your account has another e-mail address now. Mails no longer go to this one.",
    },
    DELETION_REQUESTED: {
      subject: "Your account will be deleted",
      text: "Your account was closed and will be erased. To keep it, sign in before that.",
    },
    DELETION_CANCELLED: { subject: "Your account is open again", text: "Your account will not be erased." },
    OTHER: { subject: "Security notice for your account", text: "The security settings of your account changed." },
  },
  facts: { time: "Time", browser: "Browser", address: "IP address", detail: "Details", erased: "Erased on" },
  browserOn: (browser: string, system: string) => `${browser} on ${system}`,
  notYou: "If this was not you, change your password at once and sign out everywhere:",
  notYourPassword: "If this was not you, set a new one through a mailed link at once. That signs everyone out:",
  notYourAddress: "If this was not you, sign in with that address and your password at once, then change both:",
  notYourFactor: "If this was not you, remove it on the security page at once, then change your password:",
  notYourCodes: "If this was not you, make new codes on the security page at once, then change your password:",
  openSecurity: "Open the security page",
  factors: { passkey: "Passkey", totp: "Authenticator app" },
  openAccount: "Open your account",
  footer: (host: string) => `You get this mail because of your account at ${host}.`,
};

export type MailMessages = typeof en;
