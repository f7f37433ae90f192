import type { FactorMessages } from "./en.ts";

export const de: FactorMessages = {
  security: "Sicherheit",
  toSecurity: "Zurück zur Sicherheit",
  securityTitle: "Sicherheit",
  stepTitle: "Bestätigen Sie, dass Sie es sind",
  stepIntro: "Ihr Passwort war richtig. Ein weiterer Schritt schützt Ihr Konto.",
  code: "Code",
  codeHint: "Die sechs Ziffern Ihrer Authenticator-App oder einer Ihrer Wiederherstellungscodes.",
  stepUpTitle: "Noch ein Schritt",
  stepUpIntro: (name) => `${name} verlangt, dass Sie sich mit einem zweiten Schritt ausweisen.`,
  stepUpNone:
    "Sie haben noch keinen eingerichtet. Richten Sie einen ein; danach führt die Sicherheitsseite Sie zurück.",
  codeWrong: "Dieser Code ist falsch oder wurde schon verwendet. Warten Sie auf den nächsten.",
  remember: "In diesem Browser 30 Tage nicht mehr fragen",
  confirmTitle: "Erneut anmelden",
  confirmIntro: "Bevor Sie ändern, wie Sie sich anmelden, bestätigen Sie, dass Sie es sind.",
  confirmWrong: "Das Passwort oder der Code ist falsch.",
  totp: "Authenticator-App",
  totpNone: "Eine App auf Ihrem Telefon zeigt einen Code, den Sie nach dem Passwort eingeben.",
  totpAdd: "Authenticator-App einrichten",
  totpTitle: "Authenticator-App einrichten",
  totpIntro:
    "Scannen Sie diesen Code mit Ihrer Authenticator-App. Geben Sie dann die sechs Ziffern ein, die sie zeigt.",
  qrLabel: "QR-Code für Ihre Authenticator-App",
  secretIntro: "Wenn Sie ihn nicht scannen können, geben Sie diesen Schlüssel in der App ein:",
  totpCode: "Code aus der App",
  totpConfirm: "Einschalten",
  codes: "Wiederherstellungscodes",
  codesNone:
    "Sie haben keine Wiederherstellungscodes. Ohne sie können Sie sich nicht anmelden, wenn Sie Ihr Telefon verlieren.",
  codesLeft: (count) => `Sie haben ${count} Wiederherstellungscodes. Jeder gilt einmal.`,
  codesMake: "Neue Wiederherstellungscodes erstellen",
  codesTitle: "Ihre Wiederherstellungscodes",
  codesIntro:
    "Bewahren Sie diese Codes so auf, dass Sie sie ohne Ihr Telefon finden. Jeder gilt einmal. Sie werden nur jetzt angezeigt, und frühere gelten nicht mehr.",
  codesDone: "Ich habe sie aufbewahrt",
  passkeys: "Passkeys",
  passkeysNone:
    "Mit einem Passkey melden Sie sich ohne Passwort an: mit Fingerabdruck, Gesicht oder der PIN Ihres Geräts.",
  passkeyAdd: "Passkey hinzufügen",
  passkeyName: "Name des Passkeys",
  passkeyNameHint: "Zum Beispiel das Gerät, auf dem er liegt.",
  passkeySignUp: "Passkey statt Passwort verwenden",
  passkeyUse: "Passkey verwenden",
  passkeyFailed: "Der Passkey hat nicht funktioniert. Versuchen Sie es noch einmal oder melden Sie sich anders an.",
  passkeyScript: "Passkeys brauchen JavaScript, das in diesem Browser ausgeschaltet ist.",
  passkeysFull: "Mehr Passkeys sind nicht möglich. Entfernen Sie zuerst einen.",
  passkeyNameWrong: "Verwenden Sie 1 bis 50 Zeichen.",
  stepUpNoPasskey:
    "Sie haben noch keinen Passkey. Fügen Sie einen hinzu; danach führt die Sicherheitsseite Sie zurück.",
  noPassword:
    "Dieses Konto hat kein Passwort: Sie melden sich mit einem Passkey an. Über einen Link, den wir Ihnen per E-Mail schicken, können Sie ein Passwort festlegen.",
  noPasswordSend: "Passwort per E-Mail festlegen",
  passkeyKept:
    "Dies ist Ihre einzige Möglichkeit, sich anzumelden. Setzen Sie vor dem Entfernen Ihr Passwort per E-Mail zurück.",
  lastUsed: (time) => `zuletzt verwendet ${time}`,
  remove: "Entfernen",
  removeOf: (name) => `Entfernen: ${name}`,
};
