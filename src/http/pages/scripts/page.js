// What every page does better with a script. Without it each page does its whole job.

/** Chromium, Firefox and Safari show no password unless asked; a person who mistypes wants to look. */
function addReveal(/** @type {HTMLInputElement} */ input) {
  const { show = "", hide = "" } = document.body.dataset;
  const button = document.createElement("button");
  button.type = "button";
  button.className = "reveal";
  button.textContent = show;
  button.setAttribute("aria-controls", input.id);
  button.addEventListener("click", () => {
    const hidden = input.type === "password";
    input.type = hidden ? "text" : "password";
    button.textContent = hidden ? hide : show;
  });
  // a browser stores the password of a field that is one
  input.form?.addEventListener("submit", () => {
    input.type = "password";
  });
  // the field stays where it is: who types already must not lose the focus
  input.after(button);
}

/** The server names times in a zone that may not be the reader's. */
function showInZoneOfReader(/** @type {HTMLTimeElement} */ time) {
  /** @type {Intl.DateTimeFormatOptions} */
  const parts = { year: "numeric", month: "short", day: "numeric", hour: "2-digit", minute: "2-digit" };
  const text = new Intl.DateTimeFormat(document.documentElement.lang, parts).format(new Date(time.dateTime));
  time.textContent = (time.textContent ?? "").replace(time.dataset.text ?? "", text);
}

/** The answer to a form has an address too: opened by itself, as in a restored tab, it is about the request of this page, not of a later tab. */
function keepRequest(/** @type {SubmitEvent} */ { target }) {
  const form = /** @type {HTMLFormElement} */ (target);
  const carried = /** @type {HTMLInputElement | null} */ (form.querySelector("input[type=hidden][name=request]"));
  if (carried !== null && carried.value !== "" && !form.action.includes("?"))
    form.action += `?request=${carried.value}`;
}

/** The pressed button is busy while the answer is on its way. */
function markBusy(/** @type {SubmitEvent} */ event) {
  event.submitter?.setAttribute("aria-busy", "true");
}

for (const input of document.querySelectorAll("input[type=password]")) {
  addReveal(/** @type {HTMLInputElement} */ (input));
}
for (const time of document.querySelectorAll("time[data-text]")) {
  showInZoneOfReader(/** @type {HTMLTimeElement} */ (time));
}
document.addEventListener("submit", keepRequest);
document.addEventListener("submit", markBusy);
// the page of the back button is shown as it was left
addEventListener("pageshow", () => {
  for (const button of document.querySelectorAll("[aria-busy]")) button.removeAttribute("aria-busy");
});
