import type { FactorMessages } from "./en.ts";

export const fr: FactorMessages = {
  security: "Sécurité",
  toSecurity: "Retour à la sécurité",
  securityTitle: "Sécurité",
  stepTitle: "Confirmez que c’est bien vous",
  stepIntro: "Votre mot de passe est correct. Une étape de plus protège votre compte.",
  stepEnded: "Cette connexion a pris trop de temps, ou votre compte a changé entre-temps. Connectez-vous à nouveau.",
  code: "Code",
  codeHint: "Les six chiffres de votre application d’authentification, ou l’un de vos codes de récupération.",
  stepUpTitle: "Encore une étape",
  stepUpDevice: "L’application de votre appareil",
  stepUpIntro: (name) => `${name} vous demande de confirmer votre identité par une seconde étape.`,
  stepUpNone: "Vous n’en avez pas encore configuré. Configurez-en une ; la page Sécurité vous ramènera ensuite ici.",
  codeWrong:
    "Ce code est faux ou a déjà été utilisé. Attendez le suivant. S’il est refusé lui aussi, activez l’heure automatique sur l’appareil qui affiche les codes.",
  codeLate:
    "Ce code n’est plus valable. Saisissez celui que votre application affiche maintenant. Si elle affiche encore celui-ci, activez l’heure automatique sur son appareil.",
  codeRecoveryWrong:
    "Ce code de récupération est faux ou a déjà été utilisé. Chacun sert une fois. Vérifiez votre saisie ou entrez-en un autre.",
  remember: "Ne plus demander dans ce navigateur pendant 30 jours",
  confirmTitle: "Se reconnecter",
  confirmIntro: "Pour changer votre façon de vous connecter, confirmez d’abord que c’est bien vous.",
  confirmWrong: "Le mot de passe ou le code est faux, ou le code a déjà été utilisé.",
  totp: "Application d’authentification",
  totpNone: "Une application de votre téléphone affiche un code que vous saisissez après votre mot de passe.",
  totpNoneNoPassword:
    "Vous vous connectez avec une clé d’accès et n’avez pas besoin de code. Si vous la perdez, vous définissez un mot de passe par e-mail ; le code d’une application de votre téléphone confirme alors que c’est bien vous.",
  totpAdd: "Configurer une application d’authentification",
  totpTitle: "Configurer une application d’authentification",
  totpIntro:
    "Scannez ce code avec votre application d’authentification. Saisissez ensuite les six chiffres qu’elle affiche.",
  qrLabel: "Code QR pour votre application d’authentification",
  secretIntro: "Si vous ne pouvez pas le scanner, saisissez cette clé dans l’application :",
  totpCode: "Code de l’application",
  totpConfirm: "Activer",
  totpWrong: "Ce n’est pas le code que l’application affiche pour cette clé. Attendez le code suivant et saisissez-le.",
  totpClock:
    "Ce code correspond à une autre heure : l’horloge de l’appareil où se trouve l’application est mal réglée. Activez-y l’heure automatique, puis saisissez le code que l’application affiche.",
  codes: "Codes de récupération",
  codesNone:
    "Vous n’avez pas de codes de récupération. Sans eux, vous ne pourrez pas vous connecter si vous perdez votre téléphone.",
  codesNoneNoPassword:
    "Vous n’avez pas de codes de récupération. Si vous perdez votre clé d’accès, vous définissez un mot de passe par e-mail ; sans code de récupération ni application d’authentification, vous ne pourrez alors pas vous connecter.",
  codesLeft: (count) =>
    count === 1
      ? "Vous avez un code de récupération. Il sert une fois."
      : `Vous avez ${count} codes de récupération. Chacun sert une fois.`,
  codesUseNoPassword: "Il vous en faut un si vous avez perdu votre clé d’accès et défini un mot de passe par e-mail.",
  codesMake: "Créer de nouveaux codes de récupération",
  codesTitle: "Vos codes de récupération",
  codesIntro:
    "Gardez ces codes là où vous les trouverez sans votre téléphone. Chacun sert une fois. Ils ne sont affichés que maintenant, et les anciens ne fonctionnent plus.",
  codesShown:
    "Vos codes ont été affichés une fois et ne peuvent plus l’être. Si vous ne les avez pas conservés, créez-en de nouveaux : les anciens ne fonctionneront plus.",
  codesReplace: "De nouveaux codes remplacent ceux que vous avez.",
  codesDone: "Je les ai conservés",
  passkeys: "Clés d’accès",
  passkeysNone:
    "Avec une clé d’accès, vous vous connectez sans mot de passe : par votre empreinte, votre visage ou le code de votre appareil.",
  passkeyAdd: "Ajouter une clé d’accès",
  passkeyName: "Nom de la clé d’accès",
  rename: "Renommer",
  renameOf: (name) => `Renommer : ${name}`,
  renameSave: "Enregistrer le nom",
  passkeyNameHint: "Par exemple l’appareil qui la contient.",
  passkeySignUp: "Utiliser une clé d’accès au lieu d’un mot de passe",
  passkeyUse: "Utiliser une clé d’accès",
  passkeyFailed: "La clé d’accès n’a pas fonctionné. Réessayez, ou connectez-vous autrement.",
  passkeyCancelled:
    "Aucune clé d’accès n’a été utilisée. La demande a été annulée ou a pris trop de temps, ou votre appareil ne vous a pas reconnu ou n’a pas de clé d’accès pour ce site. Réessayez, ou connectez-vous autrement.",
  passkeyNotMade:
    "Aucune clé d’accès n’a été créée. La demande a été annulée ou a pris trop de temps, ou votre appareil ne vous a pas reconnu. Réessayez.",
  passkeyThere: "Cet appareil a déjà une clé d’accès pour ce compte.",
  passkeyUnfit: "Cet appareil ne peut pas créer de clé d’accès utilisable ici. Utilisez-en un autre.",
  passkeyUnknown:
    "Cette clé d’accès n’est pas connue ici, ou ne l’est plus. Utilisez-en une autre, ou connectez-vous autrement.",
  passkeyUnverified:
    "Votre appareil n’a pas vérifié que c’est bien vous. Configurez l’empreinte, le visage ou le code, puis réessayez.",
  passkeyLate: "Cela a pris trop de temps. Réessayez.",
  passkeysUnsupported:
    "Ce navigateur ne prend pas en charge les clés d’accès. Utilisez un autre navigateur ou un autre appareil.",
  passkeyScript: "Les clés d’accès ont besoin de JavaScript, désactivé dans ce navigateur.",
  passkeysFull: "Vous avez atteint le nombre maximal de clés d’accès. Supprimez-en une d’abord.",
  passkeyNameWrong: "Saisissez de 1 à 50 caractères, dont au moins un visible et aucun qui change le sens du texte.",
  stepUpNoPasskey:
    "Vous n’avez pas encore de clé d’accès. Ajoutez-en une ; la page Sécurité vous ramènera ensuite ici.",
  noPasswordTitle: "Définir un mot de passe",
  noWayIn:
    "Ce compte n’a plus ni mot de passe ni clé d’accès. Vous pouvez définir un mot de passe par un lien que nous vous envoyons par e-mail.",
  noPassword:
    "Ce compte n’a pas de mot de passe : vous vous connectez avec une clé d’accès. Vous pouvez définir un mot de passe grâce à un lien que nous vous envoyons par e-mail.",
  noPasswordSend: "Définir un mot de passe par e-mail",
  passkeyKept:
    "C’est votre seule façon de vous connecter. Définissez un mot de passe par e-mail avant de la supprimer.",
  lastUsed: (time) => `dernière utilisation ${time}`,
  passkeyAdded: "La clé d’accès a été ajoutée.",
  passkeyRenamed: "La clé d’accès a son nouveau nom.",
  totpAdded: "L’application d’authentification est configurée.",
  totpExists:
    "Une application d’authentification est déjà configurée. Supprimez-la d’abord pour en configurer une autre.",
  factorGone: "Cela a déjà été supprimé.",
  passkeyRemoved: "La clé d’accès a été supprimée.",
  totpRemoved: "L’application d’authentification a été supprimée.",
  removeTitle: "Supprimer cette façon de vous connecter ?",
  removePasskeyText: "Vous ne pourrez plus vous connecter avec cette clé d’accès.",
  removeTotpText:
    "Ses codes ne fonctionneront plus. Si vous n’avez pas de clé d’accès, votre mot de passe suffira pour vous connecter.",
  removeTotpTextNoPassword:
    "Ses codes ne fonctionneront plus. Vous continuerez à vous connecter avec votre clé d’accès.",
  remove: "Supprimer",
  removeOf: (name) => `Supprimer : ${name}`,
};
