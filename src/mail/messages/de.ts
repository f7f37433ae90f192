import type { MailMessages } from "./en.ts";

export const de: MailMessages = {
  verify: {
    subject: "Bestätigen Sie Ihre E-Mail-Adresse",
    text: "Bestätigen Sie, dass dies Ihre E-Mail-Adresse ist.",
    button: "Adresse bestätigen",
    ignore: "Wenn Sie das nicht angefordert haben, ignorieren Sie diese E-Mail.",
  },
  reset: {
    subject: "Passwort zurücksetzen",
    text: "Für Ihr Konto wurde ein neues Passwort angefordert. Legen Sie es hier fest.",
    button: "Neues Passwort festlegen",
    ignore: "Wenn Sie das nicht angefordert haben, ignorieren Sie diese E-Mail: Ihr Passwort bleibt, wie es ist.",
  },
  until: (time) => `Der Link gilt einmal, bis ${time}.`,
  passwordChanged: {
    subject: "Ihr Passwort wurde geändert",
    CHANGED: "Das Passwort Ihres Kontos wurde geändert.",
    RESET: "Das Passwort Ihres Kontos wurde über einen Link aus einer E-Mail festgelegt.",
    SET_BY_OPERATOR: "Ein Administrator hat das Passwort Ihres Kontos festgelegt.",
  },
  deleted: {
    subject: "Ihr Konto wurde gelöscht",
    text: "Ihr Konto und was über Sie gespeichert war, wurde gelöscht.",
  },
  security: {
    NEW_DEVICE: {
      subject: "Neue Anmeldung bei Ihrem Konto",
      text: "Ihr Konto wurde zum ersten Mal in einem Browser verwendet.",
    },
    FACTOR_ADDED: {
      subject: "Eine Anmeldemethode wurde hinzugefügt",
      text: "Ihrem Konto wurde eine Anmeldemethode hinzugefügt.",
    },
    FACTOR_REMOVED: {
      subject: "Eine Anmeldemethode wurde entfernt",
      text: "Eine Anmeldemethode Ihres Kontos wurde entfernt.",
    },
    FACTORS_RESET: {
      subject: "Ihre Anmeldemethoden wurden zurückgesetzt",
      text: "Alle zweiten Anmeldemethoden Ihres Kontos wurden entfernt.",
    },
    RECOVERY_CODES_MADE: {
      subject: "Wiederherstellungscodes wurden erstellt",
      text: "Für Ihr Konto wurden neue Wiederherstellungscodes erstellt. Frühere gelten nicht mehr.",
    },
    RECOVERY_CODE_USED: {
      subject: "Ein Wiederherstellungscode wurde verwendet",
      text: "Ein Wiederherstellungscode Ihres Kontos wurde verwendet.",
    },
    EMAIL_CHANGED: {
      subject: "Ihre E-Mail-Adresse wurde geändert",
      text: "Ihr Konto hat jetzt eine andere E-Mail-Adresse. An diese hier gehen keine E-Mails mehr.",
    },
    DELETION_REQUESTED: {
      subject: "Ihr Konto wird gelöscht",
      text: "Ihr Konto wurde geschlossen und wird gelöscht. Melden Sie sich vorher an, um es zu behalten.",
    },
    DELETION_CANCELLED: { subject: "Ihr Konto ist wieder offen", text: "Ihr Konto wird nicht gelöscht." },
    OTHER: {
      subject: "Sicherheitshinweis zu Ihrem Konto",
      text: "Die Sicherheitseinstellungen Ihres Kontos wurden geändert.",
    },
  },
  facts: {
    time: "Zeit",
    browser: "Browser",
    address: "IP-Adresse",
    detail: "Einzelheiten",
    erased: "Wird gelöscht am",
  },
  browserOn: (browser, system) => `${browser} unter ${system}`,
  notYou: "Wenn Sie das nicht waren, ändern Sie sofort Ihr Passwort und melden Sie sich überall ab:",
  notYourPassword:
    "Wenn Sie das nicht waren, legen Sie sofort über einen Link per E-Mail ein neues fest. Damit werden alle abgemeldet:",
  notYourAddress:
    "Wenn Sie das nicht waren, melden Sie sich sofort mit dieser Adresse und Ihrem Passwort an, und ändern Sie dann beides:",
  notYourFactor:
    "Wenn Sie das nicht waren, entfernen Sie sie sofort auf der Seite „Sicherheit“ und ändern Sie dann Ihr Passwort:",
  notYourCodes:
    "Wenn Sie das nicht waren, erstellen Sie sofort auf der Sicherheitsseite neue Codes und ändern Sie dann Ihr Passwort:",
  openSecurity: "Seite „Sicherheit“ öffnen",
  factors: { passkey: "Passkey", totp: "Authenticator-App" },
  openAccount: "Konto öffnen",
  footer: (host) => `Sie erhalten diese E-Mail wegen Ihres Kontos bei ${host}.`,
};
