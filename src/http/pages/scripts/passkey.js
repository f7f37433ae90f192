// The buttons of passkeys. They need a script: without one they are not shown, and a page has its other ways.

/**
 * What this page uses of @simplewebauthn/browser, which is loaded before.
 * @typedef {object} WebAuthn
 * @property {() => boolean} browserSupportsWebAuthn
 * @property {() => Promise<boolean>} browserSupportsWebAuthnAutofill
 * @property {(call: { optionsJSON: object, useBrowserAutofill?: boolean }) => Promise<object>} startAuthentication
 * @property {(call: { optionsJSON: object }) => Promise<object>} startRegistration
 */

/** @type {WebAuthn} */
const webAuthn = /** @type {{ SimpleWebAuthnBrowser: WebAuthn }} */ (/** @type {unknown} */ (window))
  .SimpleWebAuthnBrowser;

/** A challenge is renewed before it ends (milliseconds). */
const renewMs = 8 * 60_000;

/** The options of a button, renewed where the page has been open for long. */
class Options {
  /** @param {HTMLElement} button */
  constructor(button) {
    this.renewAt = Date.now() + renewMs;
    this.url = button.dataset.renew ?? "";
    this.json = JSON.parse(button.dataset.options ?? "{}");
  }

  async get() {
    if (this.url === "" || Date.now() < this.renewAt) return this.json;
    const response = await fetch(this.url);
    if (response.ok) {
      this.json = await response.json();
      this.renewAt = Date.now() + renewMs;
    }
    return this.json;
  }
}

/** The form's other fields go with the answer, but a password that was typed stays here. */
function send(/** @type {HTMLButtonElement} */ button, /** @type {object} */ answer) {
  const form = /** @type {HTMLFormElement} */ (button.form);
  for (const input of form.querySelectorAll("input")) if (input.type === "password") input.disabled = true;
  const input = document.createElement("input");
  Object.assign(input, { type: "hidden", name: "credential", value: JSON.stringify(answer) });
  form.append(input);
  form.action = button.dataset.path ?? form.action;
  button.setAttribute("aria-busy", "true");
  form.submit();
}

/** The fields but passwords are right, as after any other button. */
function areFieldsRight(/** @type {HTMLFormElement} */ form) {
  return [...form.querySelectorAll("input")].every((input) => input.type === "password" || input.reportValidity());
}

/** A new passkey bears the names that were typed. */
function named(/** @type {any} */ options, /** @type {HTMLFormElement} */ form) {
  const value = (/** @type {string} */ id) =>
    /** @type {HTMLInputElement | null} */ (form.querySelector(`input#${id}`))?.value;
  const name = value("email") ?? options.user.name;
  return { ...options, user: { ...options.user, name, displayName: value("nickname") ?? options.user.displayName } };
}

function setUp(/** @type {HTMLButtonElement} */ button) {
  const { form } = button;
  if (form === null) return;
  const options = new Options(button);
  const failure = /** @type {HTMLElement} */ (button.nextElementSibling);
  const creates = button.dataset.passkey === "create";
  const press = async () => {
    if (creates && !areFieldsRight(form)) return;
    failure.hidden = true;
    try {
      const json = await options.get();
      const answer = creates
        ? await webAuthn.startRegistration({ optionsJSON: named(json, form) })
        : await webAuthn.startAuthentication({ optionsJSON: json });
      send(button, answer);
    } catch {
      failure.hidden = false;
      button.focus();
    }
  };
  button.hidden = false;
  button.addEventListener("click", press);
  // Enter in a form that has no other button
  form.addEventListener("submit", (event) => {
    if (form.querySelector("button[type=submit]") !== null) return;
    event.preventDefault();
    press();
  });
  if (options.url !== "") offerInField(button, options);
}

/** The browser offers its passkeys in the address field, for as long as the page is open. */
async function offerInField(/** @type {HTMLButtonElement} */ button, /** @type {Options} */ options) {
  if (!(await webAuthn.browserSupportsWebAuthnAutofill())) return;
  const ask = async () => {
    const timer = setTimeout(ask, renewMs);
    try {
      const optionsJSON = await options.get();
      send(button, await webAuthn.startAuthentication({ optionsJSON, useBrowserAutofill: true }));
    } catch {
      // the button was pressed, or the challenge was renewed
    } finally {
      clearTimeout(timer);
    }
  };
  await ask();
}

if (webAuthn.browserSupportsWebAuthn()) {
  for (const button of document.querySelectorAll("button[data-passkey]")) {
    setUp(/** @type {HTMLButtonElement} */ (button));
  }
}
