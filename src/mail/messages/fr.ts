import type { MailMessages } from "./en.ts";

export const fr: MailMessages = {
  verify: {
    subject: "Confirmez votre adresse e-mail",
    text: "Confirmez que c’est bien votre adresse e-mail.",
    button: "Confirmer l’adresse",
    ignore: "Si vous n’avez rien demandé, ignorez cet e-mail.",
  },
  reset: {
    subject: "Réinitialisez votre mot de passe",
    text: "Un nouveau mot de passe a été demandé pour votre compte. Choisissez-le ici.",
    button: "Choisir un nouveau mot de passe",
    ignore: "Si vous n’avez rien demandé, ignorez cet e-mail : votre mot de passe reste le même.",
  },
  until: (time) => `Le lien fonctionne une seule fois, jusqu’au ${time}.`,
  passwordChanged: {
    subject: "Votre mot de passe a été modifié",
    CHANGED: "Le mot de passe de votre compte a été modifié.",
    RESET: "Le mot de passe de votre compte a été défini par un lien reçu par e-mail.",
    SET_BY_OPERATOR: "Un administrateur a défini le mot de passe de votre compte.",
  },
  deleted: {
    subject: "Votre compte a été supprimé",
    text: "Votre compte et ce qui était enregistré sur vous ont été effacés.",
  },
  security: {
    NEW_DEVICE: {
      subject: "Nouvelle connexion à votre compte",
      text: "Votre compte a été utilisé pour la première fois dans un navigateur.",
    },
    FACTOR_ADDED: {
      subject: "Un moyen de connexion a été ajouté",
      text: "Un moyen de connexion a été ajouté à votre compte.",
    },
    FACTOR_REMOVED: {
      subject: "Un moyen de connexion a été retiré",
      text: "Un moyen de connexion a été retiré de votre compte.",
    },
    FACTORS_RESET: {
      subject: "Vos moyens de connexion ont été réinitialisés",
      text: "Tous les seconds moyens de connexion de votre compte ont été retirés.",
    },
    RECOVERY_CODES_MADE: {
      subject: "Des codes de récupération ont été créés",
      text: "De nouveaux codes de récupération ont été créés pour votre compte. Les anciens ne fonctionnent plus.",
    },
    RECOVERY_CODE_USED: {
      subject: "Un code de récupération a été utilisé",
      text: "Un code de récupération de votre compte a été utilisé.",
    },
    EMAIL_CHANGED: {
      subject: "Votre adresse e-mail a été modifiée",
      text: "Votre compte a désormais une autre adresse e-mail. Celle-ci ne reçoit plus d’e-mails.",
    },
    DELETION_REQUESTED: {
      subject: "Votre compte va être supprimé",
      text: "Votre compte a été fermé et sera effacé. Pour le garder, connectez-vous avant.",
    },
    DELETION_CANCELLED: { subject: "Votre compte est de nouveau ouvert", text: "Votre compte ne sera pas effacé." },
    OTHER: {
      subject: "Avis de sécurité pour votre compte",
      text: "Les réglages de sécurité de votre compte ont changé.",
    },
  },
  facts: { time: "Heure", browser: "Navigateur", address: "Adresse IP", detail: "Détails", erased: "Sera effacé le" },
  browserOn: (browser, system) => `${browser} sous ${system}`,
  notYou: "Si ce n’était pas vous, changez tout de suite votre mot de passe et déconnectez-vous partout :",
  notYourPassword:
    "Si ce n’était pas vous, choisissez-en tout de suite un nouveau par un lien envoyé par e-mail. Tout le monde sera déconnecté :",
  notYourAddress:
    "Si ce n’était pas vous, connectez-vous tout de suite avec cette adresse et votre mot de passe, puis changez les deux :",
  notYourFactor:
    "Si ce n’était pas vous, retirez-le tout de suite sur la page Sécurité, puis changez votre mot de passe :",
  notYourCodes:
    "Si ce n’était pas vous, créez immédiatement de nouveaux codes sur la page Sécurité, puis changez votre mot de passe :",
  openSecurity: "Ouvrir la page Sécurité",
  factors: { passkey: "Clé d’accès", totp: "Application d’authentification" },
  openAccount: "Ouvrir votre compte",
  footer: (host) => `Vous recevez cet e-mail en raison de votre compte sur ${host}.`,
};
