import type { MailMessages } from "./en.ts";

export const es: MailMessages = {
  verify: {
    subject: "Confirma tu correo electrónico",
    text: "Confirma que esta es tu dirección de correo.",
    button: "Confirmar dirección",
    ignore: "Si no lo pediste, ignora este correo.",
  },
  reset: {
    subject: "Restablece tu contraseña",
    text: "Se pidió una contraseña nueva para tu cuenta. Elígela aquí.",
    button: "Elegir contraseña nueva",
    ignore: "Si no lo pediste, ignora este correo: tu contraseña no cambia.",
  },
  until: (time) => `El enlace vale una sola vez, hasta ${time}.`,
  passwordChanged: {
    subject: "Tu contraseña ha cambiado",
    CHANGED: "Se cambió la contraseña de tu cuenta.",
    RESET: "Se cambió la contraseña de tu cuenta con un enlace enviado por correo.",
    SET_BY_OPERATOR: "Un administrador cambió la contraseña de tu cuenta.",
  },
  deleted: {
    subject: "Tu cuenta se eliminó",
    text: "Se borró tu cuenta y todo lo que se guardaba sobre ti.",
  },
  security: {
    NEW_DEVICE: {
      subject: "Nuevo inicio de sesión en tu cuenta",
      text: "Tu cuenta se usó por primera vez en un navegador.",
    },
    FACTOR_ADDED: {
      subject: "Se añadió un método de inicio de sesión",
      text: "Se añadió un método de inicio de sesión a tu cuenta.",
    },
    FACTOR_REMOVED: {
      subject: "Se quitó un método de inicio de sesión",
      text: "Se quitó un método de inicio de sesión de tu cuenta.",
    },
    FACTORS_RESET: {
      subject: "Se restablecieron tus métodos de inicio de sesión",
      text: "Se quitaron todos los segundos métodos de inicio de sesión de tu cuenta.",
    },
    RECOVERY_CODES_MADE: {
      subject: "Se han creado códigos de recuperación",
      text: "Se han creado códigos de recuperación nuevos para tu cuenta. Los anteriores ya no sirven.",
    },
    RECOVERY_CODE_USED: {
      subject: "Se usó un código de recuperación",
      text: "Se usó un código de recuperación de tu cuenta.",
    },
    EMAIL_CHANGED: {
      subject: "Tu dirección de correo ha cambiado",
      text: "Tu cuenta tiene ahora otra dirección de correo. A esta ya no llegarán correos.",
    },
    DELETION_REQUESTED: {
      subject: "Tu cuenta se eliminará",
      text: "Tu cuenta se cerró y se borrará. Para conservarla, inicia sesión antes.",
    },
    DELETION_CANCELLED: { subject: "Tu cuenta vuelve a estar abierta", text: "Tu cuenta no se borrará." },
    OTHER: { subject: "Aviso de seguridad de tu cuenta", text: "Cambió la configuración de seguridad de tu cuenta." },
  },
  facts: { time: "Hora", browser: "Navegador", address: "Dirección IP", detail: "Detalles", erased: "Se borrará el" },
  browserOn: (browser, system) => `${browser} en ${system}`,
  notYou: "Si no fuiste tú, cambia tu contraseña de inmediato y cierra sesión en todas partes:",
  notYourPassword:
    "Si no fuiste tú, elige una nueva de inmediato con un enlace por correo. Con eso se cierran todas las sesiones:",
  notYourAddress:
    "Si no fuiste tú, inicia sesión de inmediato con esa dirección y tu contraseña, y después cambia las dos:",
  notYourFactor: "Si no fuiste tú, quítalo de inmediato en la página de seguridad y después cambia tu contraseña:",
  notYourCodes:
    "Si no has sido tú, crea códigos nuevos de inmediato en la página de seguridad y después cambia tu contraseña:",
  openSecurity: "Abrir la página de seguridad",
  factors: { passkey: "Llave de acceso", totp: "Aplicación de autenticación" },
  openAccount: "Abrir tu cuenta",
  footer: (host) => `Recibes este correo por tu cuenta en ${host}.`,
};
