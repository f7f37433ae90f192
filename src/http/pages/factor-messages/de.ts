import type { FactorMessages } from "./en.ts";

export const de: FactorMessages = {
  security: "Sicherheit",
  toSecurity: "Zurück zur Sicherheit",
  securityTitle: "Sicherheit",
  stepTitle: "Bestätigen Sie, dass Sie es sind",
  stepIntro: "Ihr Passwort war richtig. Ein weiterer Schritt schützt Ihr Konto.",
  stepEnded:
    "Diese Anmeldung hat zu lange gedauert, oder Ihr Konto hat sich seitdem geändert. Melden Sie sich noch einmal an.",
  code: "Code",
  codeHint: "Die sechs Ziffern Ihrer Authenticator-App oder einer Ihrer Wiederherstellungscodes.",
  stepUpTitle: "Noch ein Schritt",
  stepUpDevice: "Die Anwendung auf Ihrem Gerät",
  stepUpIntro: (name) => `${name} verlangt, dass Sie sich mit einem zweiten Schritt ausweisen.`,
  stepUpNone:
    "Sie haben noch keinen eingerichtet. Richten Sie einen ein; danach führt die Sicherheitsseite Sie zurück.",
  codeWrong:
    "Dieser Code ist falsch oder wurde schon verwendet. Warten Sie auf den nächsten. Wird auch der abgelehnt, schalten Sie auf dem Gerät, das die Codes anzeigt, die automatische Uhrzeit ein.",
  codeLate:
    "Dieser Code ist nicht mehr gültig. Geben Sie den ein, den Ihre App jetzt anzeigt. Zeigt sie noch immer diesen an, schalten Sie auf dem Gerät die automatische Uhrzeit ein.",
  codeRecoveryWrong:
    "Dieser Wiederherstellungscode ist falsch oder wurde schon verwendet. Jeder gilt einmal. Prüfen Sie Ihre Eingabe, oder geben Sie einen anderen ein.",
  remember: "In diesem Browser 30 Tage nicht mehr fragen",
  confirmTitle: "Erneut anmelden",
  confirmIntro: "Bevor Sie ändern, wie Sie sich anmelden, bestätigen Sie, dass Sie es sind.",
  confirmWrong: "Das Passwort oder der Code ist falsch, oder der Code wurde schon verwendet.",
  totp: "Authenticator-App",
  totpNone: "Eine App auf Ihrem Telefon zeigt einen Code, den Sie nach dem Passwort eingeben.",
  totpNoneNoPassword:
    "Sie melden sich mit einem Passkey an und brauchen keinen Code. Sollten Sie den Passkey verlieren, legen Sie per E-Mail ein Passwort fest; der Code einer App auf Ihrem Telefon bestätigt dann, dass Sie es sind.",
  totpAdd: "Authenticator-App einrichten",
  totpTitle: "Authenticator-App einrichten",
  totpIntro:
    "Scannen Sie diesen Code mit Ihrer Authenticator-App. Geben Sie dann die sechs Ziffern ein, die sie zeigt.",
  qrLabel: "QR-Code für Ihre Authenticator-App",
  secretIntro: "Wenn Sie ihn nicht scannen können, geben Sie diesen Schlüssel in der App ein:",
  totpCode: "Code aus der App",
  totpConfirm: "Einschalten",
  totpWrong:
    "Das ist nicht der Code, den die App für diesen Schlüssel anzeigt. Warten Sie auf den nächsten Code, und geben Sie diesen ein.",
  totpClock:
    "Dieser Code gehört zu einer anderen Zeit: Die Uhr des Geräts mit der App geht falsch. Schalten Sie dort die automatische Uhrzeit ein, und geben Sie dann den Code ein, den die App anzeigt.",
  codes: "Wiederherstellungscodes",
  codesNone:
    "Sie haben keine Wiederherstellungscodes. Ohne sie können Sie sich nicht anmelden, wenn Sie Ihr Telefon verlieren.",
  codesNoneNoPassword:
    "Sie haben keine Wiederherstellungscodes. Sollten Sie Ihren Passkey verlieren, legen Sie per E-Mail ein Passwort fest; ohne einen Wiederherstellungscode oder eine Authenticator-App können Sie sich dann nicht anmelden.",
  codesLeft: (count) =>
    count === 1
      ? "Sie haben einen Wiederherstellungscode. Er gilt einmal."
      : `Sie haben ${count} Wiederherstellungscodes. Jeder gilt einmal.`,
  codesUseNoPassword:
    "Sie brauchen einen, wenn Sie Ihren Passkey verloren und per E-Mail ein Passwort festgelegt haben.",
  codesMake: "Neue Wiederherstellungscodes erstellen",
  codesTitle: "Ihre Wiederherstellungscodes",
  codesIntro:
    "Bewahren Sie diese Codes so auf, dass Sie sie ohne Ihr Telefon finden. Jeder gilt einmal. Sie werden nur jetzt angezeigt, und frühere gelten nicht mehr.",
  codesShown:
    "Ihre Codes wurden einmal angezeigt und lassen sich nicht noch einmal anzeigen. Wenn Sie sie nicht aufbewahrt haben, erstellen Sie neue: Die früheren gelten dann nicht mehr.",
  codesReplace: "Neue Codes ersetzen die, die Sie haben.",
  codesDone: "Ich habe sie aufbewahrt",
  passkeys: "Passkeys",
  passkeysNone:
    "Mit einem Passkey melden Sie sich ohne Passwort an: mit Fingerabdruck, Gesicht oder der PIN Ihres Geräts.",
  passkeyAdd: "Passkey hinzufügen",
  passkeyName: "Name des Passkeys",
  rename: "Umbenennen",
  renameOf: (name) => `Umbenennen: ${name}`,
  renameSave: "Namen speichern",
  passkeyNameHint: "Zum Beispiel das Gerät, auf dem er liegt.",
  passkeySignUp: "Passkey statt Passwort verwenden",
  passkeyUse: "Passkey verwenden",
  passkeyFailed: "Der Passkey hat nicht funktioniert. Versuchen Sie es noch einmal oder melden Sie sich anders an.",
  passkeyCancelled:
    "Es wurde kein Passkey verwendet. Die Anfrage wurde abgebrochen oder hat zu lange gedauert, oder Ihr Gerät hat Sie nicht erkannt oder hat keinen Passkey für diese Seite. Versuchen Sie es noch einmal oder melden Sie sich anders an.",
  passkeyNotMade:
    "Es wurde kein Passkey erstellt. Die Anfrage wurde abgebrochen oder hat zu lange gedauert, oder Ihr Gerät hat Sie nicht erkannt. Versuchen Sie es noch einmal.",
  passkeyThere: "Dieses Gerät hat schon einen Passkey für dieses Konto.",
  passkeyUnfit: "Dieses Gerät kann keinen Passkey erstellen, der hier funktioniert. Verwenden Sie ein anderes.",
  passkeyUnknown:
    "Dieser Passkey ist hier nicht oder nicht mehr bekannt. Verwenden Sie einen anderen oder melden Sie sich anders an.",
  passkeyUnverified:
    "Ihr Gerät hat nicht geprüft, dass Sie es sind. Richten Sie Fingerabdruck, Gesicht oder PIN ein und versuchen Sie es noch einmal.",
  passkeyLate: "Das hat zu lange gedauert. Versuchen Sie es noch einmal.",
  passkeysUnsupported:
    "Dieser Browser kann keine Passkeys verwenden. Nehmen Sie einen anderen Browser oder ein anderes Gerät.",
  passkeyScript: "Passkeys brauchen JavaScript, das in diesem Browser ausgeschaltet ist.",
  passkeysFull: "Mehr Passkeys sind nicht möglich. Entfernen Sie zuerst einen.",
  passkeyNameWrong:
    "Verwenden Sie 1 bis 50 Zeichen, von denen mindestens eines sichtbar ist und keines die Schreibrichtung ändert.",
  stepUpNoPasskey:
    "Sie haben noch keinen Passkey. Fügen Sie einen hinzu; danach führt die Sicherheitsseite Sie zurück.",
  noPasswordTitle: "Passwort festlegen",
  noWayIn:
    "Dieses Konto hat kein Passwort und keinen Passkey mehr. Über einen Link, den wir Ihnen per E-Mail senden, legen Sie ein Passwort fest.",
  noPassword:
    "Dieses Konto hat kein Passwort: Sie melden sich mit einem Passkey an. Über einen Link, den wir Ihnen per E-Mail schicken, können Sie ein Passwort festlegen.",
  noPasswordSend: "Passwort per E-Mail festlegen",
  passkeyKept:
    "Dies ist Ihre einzige Möglichkeit, sich anzumelden. Legen Sie vor dem Entfernen per E-Mail ein Passwort fest.",
  lastUsed: (time) => `zuletzt verwendet ${time}`,
  passkeyAdded: "Der Passkey wurde hinzugefügt.",
  passkeyRenamed: "Der Passkey hat seinen neuen Namen.",
  totpAdded: "Die Authenticator-App ist eingerichtet.",
  totpExists:
    "Es ist schon eine Authenticator-App eingerichtet. Entfernen Sie sie zuerst, um eine andere einzurichten.",
  factorGone: "Das wurde schon entfernt.",
  passkeyRemoved: "Der Passkey wurde entfernt.",
  totpRemoved: "Die Authenticator-App wurde entfernt.",
  removeTitle: "Diese Anmeldemöglichkeit entfernen?",
  removePasskeyText: "Mit diesem Passkey können Sie sich dann nicht mehr anmelden.",
  removeTotpText:
    "Ihre Codes gelten dann nicht mehr. Wenn Sie keinen Passkey haben, genügt zum Anmelden Ihr Passwort allein.",
  removeTotpTextNoPassword: "Ihre Codes gelten dann nicht mehr. Sie melden sich weiter mit Ihrem Passkey an.",
  remove: "Entfernen",
  removeOf: (name) => `Entfernen: ${name}`,
};
