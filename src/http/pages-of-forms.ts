/**
 * The page of a form that is sent to an address of its own: who opens that address without the form, as a restored tab does, is led there.
 * Every other form is sent to the address of its page.
 */
export const PAGE_OF_FORM: Readonly<Record<string, string>> = {
  "/login/passkey": "/login",
  "/login/second-factor": "/login",
  "/account/restore": "/login",
  "/signup/passkey": "/signup",
  "/verify-email/send": "/verify-email",
  "/password-reset/confirm": "/login",
  "/device/decision": "/device",
  "/account/export": "/account/data",
  "/account/delete": "/account/data",
  "/account/sessions/end": "/",
  "/account/sign-out-everywhere": "/",
  "/account/applications/remove": "/",
};
