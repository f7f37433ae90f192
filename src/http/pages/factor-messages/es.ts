import type { FactorMessages } from "./en.ts";

export const es: FactorMessages = {
  security: "Seguridad",
  toSecurity: "Volver a seguridad",
  securityTitle: "Seguridad",
  stepTitle: "Confirma que eres tú",
  stepIntro: "Tu contraseña es correcta. Un paso más protege tu cuenta.",
  stepEnded: "Ese inicio de sesión tardó demasiado o tu cuenta ha cambiado desde entonces. Vuelve a iniciar sesión.",
  code: "Código",
  codeHint: "Los seis dígitos que muestra tu aplicación de autenticación o uno de tus códigos de recuperación.",
  stepUpTitle: "Un paso más",
  stepUpDevice: "La aplicación de tu dispositivo",
  stepUpIntro: (name) => `${name} te pide que confirmes tu identidad con un segundo paso.`,
  stepUpNone: "Aún no tienes ninguno configurado. Configura uno; después, la página de seguridad te traerá de vuelta.",
  codeWrong:
    "Este código no es correcto o ya se ha usado. Espera al siguiente. Si tampoco se acepta, activa la hora automática en el dispositivo que muestra los códigos.",
  codeLate:
    "Este código ya no es válido. Escribe el que tu aplicación muestra ahora. Si sigue mostrando este, activa la hora automática en su dispositivo.",
  codeRecoveryWrong:
    "Este código de recuperación no es correcto o ya se ha usado. Cada uno sirve una vez. Comprueba lo que has escrito o escribe otro.",
  remember: "No volver a preguntar en este navegador durante 30 días",
  confirmTitle: "Inicia sesión de nuevo",
  confirmIntro: "Para cambiar cómo inicias sesión, confirma primero que eres tú.",
  confirmWrong: "La contraseña o el código no es correcto, o el código ya se ha usado.",
  totp: "Aplicación de autenticación",
  totpNone: "Una aplicación de tu teléfono muestra un código que introduces después de la contraseña.",
  totpNoneNoPassword:
    "Inicias sesión con una llave de acceso y no necesitas ningún código. Si la pierdes, estableces una contraseña por correo; entonces el código de una aplicación de tu teléfono confirma que eres tú.",
  totpAdd: "Configurar una aplicación de autenticación",
  totpTitle: "Configurar una aplicación de autenticación",
  totpIntro: "Escanea este código con tu aplicación de autenticación. Después introduce los seis dígitos que muestra.",
  qrLabel: "Código QR para tu aplicación de autenticación",
  secretIntro: "Si no puedes escanearlo, introduce esta clave en la aplicación:",
  totpCode: "Código de la aplicación",
  totpConfirm: "Activar",
  totpWrong: "No es el código que la aplicación muestra para esta clave. Espera al siguiente y escríbelo.",
  totpClock:
    "Este código corresponde a otra hora: el reloj del dispositivo que tiene la aplicación no va bien. Activa en él la hora automática y escribe el código que muestre la aplicación.",
  codes: "Códigos de recuperación",
  codesNone: "No tienes códigos de recuperación. Sin ellos no podrás iniciar sesión si pierdes el teléfono.",
  codesNoneNoPassword:
    "No tienes códigos de recuperación. Si pierdes tu llave de acceso, estableces una contraseña por correo; sin un código de recuperación o una aplicación de autenticación no podrás entonces iniciar sesión.",
  codesLeft: (count) =>
    count === 1
      ? "Tienes un código de recuperación. Sirve una vez."
      : `Tienes ${count} códigos de recuperación. Cada uno sirve una vez.`,
  codesUseNoPassword: "Lo necesitas si has perdido tu llave de acceso y has establecido una contraseña por correo.",
  codesMake: "Crear códigos de recuperación nuevos",
  codesTitle: "Tus códigos de recuperación",
  codesIntro:
    "Guarda estos códigos donde los encuentres sin tu teléfono. Cada uno sirve una vez. Solo se muestran ahora, y los anteriores ya no sirven.",
  codesShown:
    "Tus códigos ya se mostraron una vez y no se pueden volver a mostrar. Si no los has guardado, crea otros: los anteriores dejarán de servir.",
  codesReplace: "Los códigos nuevos sustituyen a los que tienes.",
  codesDone: "Los he guardado",
  passkeys: "Llaves de acceso",
  passkeysNone:
    "Con una llave de acceso inicias sesión sin contraseña: con tu huella, tu cara o el PIN de tu dispositivo.",
  passkeyAdd: "Añadir una llave de acceso",
  passkeyName: "Nombre de la llave de acceso",
  rename: "Cambiar el nombre",
  renameOf: (name) => `Cambiar el nombre: ${name}`,
  renameSave: "Guardar el nombre",
  passkeyNameHint: "Por ejemplo, el dispositivo que la tiene.",
  passkeySignUp: "Usar una llave de acceso en lugar de una contraseña",
  passkeyUse: "Usar una llave de acceso",
  passkeyFailed: "La llave de acceso no ha funcionado. Inténtalo de nuevo o inicia sesión de otra forma.",
  passkeyCancelled:
    "No se ha usado ninguna llave de acceso. La solicitud se canceló o tardó demasiado, o tu dispositivo no te reconoció o no tiene ninguna llave de acceso para este sitio. Inténtalo de nuevo o inicia sesión de otra forma.",
  passkeyNotMade:
    "No se ha creado ninguna llave de acceso. La solicitud se canceló o tardó demasiado, o tu dispositivo no te reconoció. Inténtalo de nuevo.",
  passkeyThere: "Este dispositivo ya tiene una llave de acceso para esta cuenta.",
  passkeyUnfit: "Este dispositivo no puede crear una llave de acceso que sirva aquí. Usa otro.",
  passkeyUnknown: "Aquí no se conoce esta llave de acceso, o ya no. Usa otra o inicia sesión de otra forma.",
  passkeyUnverified:
    "Tu dispositivo no ha comprobado que eres tú. Configura la huella, la cara o el PIN e inténtalo de nuevo.",
  passkeyLate: "Ha tardado demasiado. Inténtalo de nuevo.",
  passkeysUnsupported: "Este navegador no admite llaves de acceso. Usa otro navegador o dispositivo.",
  passkeyScript: "Las llaves de acceso necesitan JavaScript, que está desactivado en este navegador.",
  passkeysFull: "Has llegado al número máximo de llaves de acceso. Quita una primero.",
  passkeyNameWrong:
    "Usa de 1 a 50 caracteres, al menos uno de ellos visible y ninguno que cambie la dirección del texto.",
  stepUpNoPasskey:
    "Aún no tienes ninguna llave de acceso. Añade una; después, la página de seguridad te traerá de vuelta.",
  noPasswordTitle: "Establece una contraseña",
  noWayIn:
    "Esta cuenta ya no tiene contraseña ni llave de acceso. Puedes establecer una contraseña con un enlace que te enviamos por correo.",
  noPassword:
    "Esta cuenta no tiene contraseña: inicias sesión con una llave de acceso. Puedes establecer una contraseña con un enlace que te enviamos por correo.",
  noPasswordSend: "Establecer una contraseña por correo",
  passkeyKept: "Es tu única forma de iniciar sesión. Establece una contraseña por correo antes de eliminarla.",
  lastUsed: (time) => `último uso ${time}`,
  passkeyAdded: "La llave de acceso se ha añadido.",
  passkeyRenamed: "La llave de acceso tiene su nuevo nombre.",
  totpAdded: "La aplicación de autenticación está configurada.",
  totpExists: "Ya hay una aplicación de autenticación configurada. Elimínala primero para configurar otra.",
  factorGone: "Esto ya se había eliminado.",
  passkeyRemoved: "La llave de acceso se ha eliminado.",
  totpRemoved: "La aplicación de autenticación se ha eliminado.",
  removeTitle: "¿Eliminar esta forma de iniciar sesión?",
  removePasskeyText: "Ya no podrás iniciar sesión con esta llave de acceso.",
  removeTotpText:
    "Sus códigos dejarán de funcionar. Si no tienes ninguna llave de acceso, bastará con tu contraseña para iniciar sesión.",
  removeTotpTextNoPassword: "Sus códigos dejarán de funcionar. Seguirás iniciando sesión con tu llave de acceso.",
  remove: "Eliminar",
  removeOf: (name) => `Eliminar: ${name}`,
};
