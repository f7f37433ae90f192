import { showDevices, showPayment, showUser } from "/account.js";
import { createApi } from "/api.js";
import { finishLogin, logOut, startLogin } from "/login.js";
import { session } from "/session.js";

const config = await (await fetch("/config.json")).json();
const app = document.querySelector("#app");
const status = document.querySelector("#status");

function goTo(path) {
  history.pushState(null, "", path);
  return show();
}

const { api, schedule } = createApi(config, () => goTo("/login?ended"));

/** Whose account this tab shows. */
let shown;

/** Shows a template. The title says where that is, and the focus goes to its heading, unless it is the first one of the page. */
function put(template) {
  const isFirst = app.firstElementChild === null;
  app.replaceChildren(document.querySelector(`#${template}`).content.cloneNode(true));
  const heading = app.querySelector("h1");
  document.title = `${heading.textContent} · Portal`;
  if (!isFirst) heading.focus();
  const isAccount = template === "signed-in";
  document.querySelector("#sign-out").hidden = !isAccount;
  shown = isAccount ? session.claims?.sub : undefined;
  say("");
}

/** A short message that screen readers speak. */
function say(message) {
  status.textContent = message;
}

function fail(message) {
  put("failed");
  app.querySelector("#reason").textContent = message;
}

const routes = {
  "/": () => (session.isOpen ? showAccount() : put("signed-out")),
  "/login": () => {
    // after a failed refresh a person decides: the auth service may still know the browser and send it straight back
    if (!location.search.startsWith("?ended")) return startLogin(config);
    put("ended");
    app.querySelector("#sign-in").addEventListener("click", () => startLogin(config));
  },
  "/callback": async () => {
    let payment;
    try {
      payment = await finishLogin(api, config);
    } catch (error) {
      return fail(error.response?.data?.error_description ?? error.message);
    }
    schedule();
    history.replaceState(null, "", "/");
    return showAccount(payment);
  },
  "/signup": () => {
    put("sign-up");
    app.querySelector("form").addEventListener("submit", signUp);
  },
};

async function showAccount(payment = null) {
  try {
    const user = await loadUser();
    put("signed-in");
    showUser(app, user);
    app.querySelector("#reload").addEventListener("click", reload);
    showPayment(app, { api, config, say }, payment);
    await showDevices(app, { api, config });
  } catch (error) {
    failUnlessEnded(error);
  }
}

async function loadUser() {
  const { data } = await api.get("/api/users/me");
  return data.data;
}

/** The rest of the page stays, and with it a payment that is half typed. */
async function reload() {
  try {
    showUser(app, await loadUser());
  } catch (error) {
    failUnlessEnded(error);
  }
}

/** When the session ended meanwhile, the login is shown already. */
function failUnlessEnded(error) {
  if (session.isOpen) fail(error.message);
}

async function signUp(event) {
  event.preventDefault();
  try {
    await api.post("/api/users/signup", Object.fromEntries(new FormData(event.target)));
    await goTo("/login");
  } catch (error) {
    const problem = app.querySelector("#problem");
    const { message, details = [] } = error.response?.data?.error ?? { message: error.message };
    problem.textContent = details.map(({ field, message }) => `${field} ${message}`).join(". ") || message;
    problem.hidden = false;
  }
}

function show() {
  return (routes[location.pathname] ?? routes["/"])();
}

/** Signing in or out counts for every tab; a renewal only sets the timer. */
async function followOtherTab() {
  schedule();
  const sub = session.claims?.sub;
  if (sub === shown) return;
  history.replaceState(null, "", "/");
  await show();
  if (sub === undefined) say("You signed out in another tab.");
}

session.onOtherTab(followOtherTab);
document.querySelector("#sign-out").addEventListener("click", () => logOut(config));
addEventListener("popstate", show);
schedule();
await show();
