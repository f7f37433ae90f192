import type { FactorMessages } from "./en.ts";

export const fr: FactorMessages = {
  security: "Sécurité",
  toSecurity: "Retour à la sécurité",
  securityTitle: "Sécurité",
  stepTitle: "Confirmez que c’est bien vous",
  stepIntro: "Votre mot de passe est correct. Une étape de plus protège votre compte.",
  code: "Code",
  codeHint: "Les six chiffres de votre application d’authentification, ou l’un de vos codes de récupération.",
  stepUpTitle: "Encore une étape",
  stepUpIntro: (name) => `${name} vous demande de confirmer votre identité par une seconde étape.`,
  stepUpNone:
    "Vous n’en avez pas encore configuré. Configurez une application d’authentification, puis revenez sur cette page pour continuer.",
  codeWrong: "Ce code est faux ou a déjà été utilisé. Attendez le suivant.",
  remember: "Ne plus demander dans ce navigateur pendant 30 jours",
  confirmTitle: "Se reconnecter",
  confirmIntro: "Pour changer votre façon de vous connecter, confirmez d’abord que c’est bien vous.",
  confirmWrong: "Le mot de passe ou le code est faux.",
  totp: "Application d’authentification",
  totpNone: "Une application de votre téléphone affiche un code que vous saisissez après votre mot de passe.",
  totpAdd: "Configurer une application d’authentification",
  totpTitle: "Configurer une application d’authentification",
  totpIntro:
    "Scannez ce code avec votre application d’authentification. Saisissez ensuite les six chiffres qu’elle affiche.",
  qrLabel: "Code QR pour votre application d’authentification",
  secretIntro: "Si vous ne pouvez pas le scanner, saisissez cette clé dans l’application :",
  totpCode: "Code de l’application",
  totpConfirm: "Activer",
  codes: "Codes de récupération",
  codesNone:
    "Vous n’avez pas de codes de récupération. Sans eux, vous ne pourrez pas vous connecter si vous perdez votre téléphone.",
  codesLeft: (count) => `Vous avez ${count} codes de récupération. Chacun sert une fois.`,
  codesMake: "Créer de nouveaux codes de récupération",
  codesTitle: "Vos codes de récupération",
  codesIntro:
    "Gardez ces codes là où vous les trouverez sans votre téléphone. Chacun sert une fois. Ils ne sont affichés que maintenant, et les anciens ne fonctionnent plus.",
  codesDone: "Je les ai conservés",
  passkeys: "Clés d’accès",
  passkeysNone:
    "Avec une clé d’accès, vous vous connectez sans mot de passe : par votre empreinte, votre visage ou le code de votre appareil.",
  passkeyAdd: "Ajouter une clé d’accès",
  passkeyName: "Nom de la clé d’accès",
  passkeyNameHint: "Par exemple l’appareil qui la contient.",
  passkeySignIn: "Se connecter avec une clé d’accès",
  passkeySignUp: "S’inscrire avec une clé d’accès",
  passkeyUse: "Utiliser une clé d’accès",
  passkeyFailed: "La clé d’accès n’a pas fonctionné. Réessayez, ou connectez-vous autrement.",
  passkeyKept:
    "C’est votre seule façon de vous connecter. Réinitialisez votre mot de passe par e-mail avant de la supprimer.",
  lastUsed: (time) => `dernière utilisation ${time}`,
  remove: "Supprimer",
  removeOf: (name) => `Supprimer : ${name}`,
};
