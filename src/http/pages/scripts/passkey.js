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

/** What the browser refuses to offer is offered again after these pauses (milliseconds), and then only once something has changed. */
const retriesMs = [10_000, 60_000, 300_000];

/** The options of a button: renewed where the page has been open for long, and before each passkey that is made. */
class Options {
  /** @param {HTMLButtonElement} button */
  constructor(button) {
    this.button = button;
    this.creates = button.dataset.passkey === "create";
    this.renewAt = Date.now() + renewMs;
    this.json = JSON.parse(button.dataset.options ?? "{}");
  }

  /** @returns {Promise<object | null>} null: the form would be refused, and no device should keep a passkey for it */
  async get() {
    if (!this.creates && Date.now() < this.renewAt) return this.json;
    const response = await fetch(this.button.dataset.renew ?? "", { method: "POST", body: fieldsOf(this.button) });
    if (!response.ok) return this.creates ? null : this.json;
    this.json = { ...this.json, ...(await response.json()) };
    this.renewAt = Date.now() + renewMs;
    return this.json;
  }
}

/** May be shown as text, too. */
const isPassword = (/** @type {HTMLInputElement} */ { autocomplete }) => autocomplete.endsWith("-password");

/** What the form would send, but for a password that was typed. */
function fieldsOf(/** @type {HTMLButtonElement} */ { form }) {
  const fields = new URLSearchParams();
  for (const input of form?.querySelectorAll("input") ?? []) {
    const isSent = input.name !== "" && !isPassword(input) && (input.type !== "checkbox" || input.checked);
    if (isSent) fields.append(input.name, input.value);
  }
  return fields;
}

/**
 * What was sent. No other answer follows it while the next page is on its way: of two that a form sends, one is refused. A press sends it again,
 * as after the browser was told to stop.
 * @type {HTMLFormElement | null}
 */
let sent = null;
// the page of the back button is shown as it was left
addEventListener("pageshow", () => {
  sent?.remove();
  sent = null;
});

/**
 * Sends the answer with the form's other fields, and without one the fields alone: the next page says what is wrong. They go in a form of
 * their own: the page's own form is as it was where the browser comes back to it.
 */
function send(/** @type {HTMLButtonElement} */ button, /** @type {object | null} */ answer) {
  if (sent !== null) return;
  const form = document.createElement("form");
  Object.assign(form, { method: "post", action: button.dataset.path ?? button.form?.action, hidden: true });
  const fields = fieldsOf(button);
  if (answer !== null) fields.set("credential", JSON.stringify(answer));
  for (const [name, value] of fields) {
    form.append(Object.assign(document.createElement("input"), { type: "hidden", name, value }));
  }
  document.body.append(form);
  button.setAttribute("aria-busy", "true");
  sent = form;
  form.submit();
}

/** The fields but passwords are right, as after any other button. */
function areFieldsRight(/** @type {HTMLFormElement} */ form) {
  return [...form.querySelectorAll("input")].every((input) => isPassword(input) || input.reportValidity());
}

function setUp(/** @type {HTMLButtonElement} */ button) {
  const { form } = button;
  if (form === null) return;
  const options = new Options(button);
  const failure = new Failure(/** @type {HTMLElement} */ (button.nextElementSibling));
  const { inField } = button.dataset;
  const offer = inField === undefined ? null : new FieldOffer(button, options);
  let isPressed = false;
  const press = async () => {
    if (sent !== null) return sent.submit();
    if (isPressed || (options.creates && !areFieldsRight(form))) return;
    isPressed = true;
    offer?.stop();
    failure.hide();
    try {
      const optionsJSON = await options.get();
      const ask = options.creates ? webAuthn.startRegistration : webAuthn.startAuthentication;
      send(button, optionsJSON === null ? null : await ask({ optionsJSON }));
    } catch (error) {
      failure.show(/** @type {Error} */ (error).name);
      button.focus();
      offer?.start();
    } finally {
      isPressed = false;
    }
  };
  button.hidden = false;
  // no autofocus reaches a hidden one
  if (button.dataset.focus !== undefined) button.focus();
  button.addEventListener("click", press);
  // Enter in a form that has no other button
  form.addEventListener("submit", (event) => {
    if (form.querySelector("button[type=submit]") !== null) return;
    event.preventDefault();
    press();
  });
  // after a refused one the browser offers them when its user asks
  if (inField !== "asked") offer?.start();
}

/** What the page says where the browser brings no passkey: it has a text for each error of WebAuthn that a person can do something about. */
class Failure {
  /** @param {HTMLElement} element */
  constructor(element) {
    this.element = element;
    this.text = element.textContent ?? "";
    /** @type {Record<string, string>} */
    this.texts = JSON.parse(element.dataset.texts ?? "{}");
  }

  show(/** @type {string} */ error) {
    this.element.textContent = this.texts[error] ?? this.text;
    this.element.hidden = false;
  }

  hide() {
    this.element.hidden = true;
  }
}

/** The browser offers its passkeys in the address field, for as long as the page is open and its button is not pressed. */
class FieldOffer {
  /**
   * @param {HTMLButtonElement} button
   * @param {Options} options
   */
  constructor(button, options) {
    this.button = button;
    this.options = options;
    this.isOn = false;
    this.isRefused = false;
    this.timer = 0;
    this.retries = [...retriesMs];
    // what the browser refused before may be possible by now
    const again = () => this.isOn && this.isRefused && this.start();
    button.form?.querySelector("[autocomplete~=webauthn]")?.addEventListener("focus", again);
    addEventListener("pageshow", again);
    document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && again());
  }

  async start() {
    this.isOn = true;
    this.isRefused = false;
    clearTimeout(this.timer);
    if (!(await webAuthn.browserSupportsWebAuthnAutofill())) return;
    try {
      const optionsJSON = (await this.options.get()) ?? {};
      if (!this.isOn) return;
      this.startIn(renewMs);
      send(this.button, await webAuthn.startAuthentication({ optionsJSON, useBrowserAutofill: true }));
      this.stop();
    } catch (error) {
      // aborted: the button was pressed, or a new request has come in place of this one
      if (!this.isOn || /** @type {Error} */ (error).name === "AbortError") return;
      this.isRefused = true;
      clearTimeout(this.timer);
      const pause = this.retries.shift();
      if (pause !== undefined) this.startIn(pause);
    }
  }

  startIn(/** @type {number} */ ms) {
    clearTimeout(this.timer);
    this.timer = window.setTimeout(() => this.start(), ms);
  }

  stop() {
    this.isOn = false;
    clearTimeout(this.timer);
  }
}

if (webAuthn.browserSupportsWebAuthn()) {
  for (const button of document.querySelectorAll("button[data-passkey]")) {
    setUp(/** @type {HTMLButtonElement} */ (button));
  }
}
for (const element of document.querySelectorAll(
  webAuthn.browserSupportsWebAuthn() ? "[data-with-passkeys]" : "[data-no-passkeys]",
)) {
  /** @type {HTMLElement} */ (element).hidden = false;
}

/** Tells the browser's passkey manager which passkeys are of no use here, where the browser can do that. */
for (const element of document.querySelectorAll("[data-signal]")) {
  const { method, ...about } = JSON.parse(/** @type {HTMLElement} */ (element).dataset.signal ?? "{}");
  /** @type {any} */ (window).PublicKeyCredential?.[method]?.(about).catch(() => {});
}
