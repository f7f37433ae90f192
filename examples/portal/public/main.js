import { createApi } from "/api.js";
import { finishLogin, logOut, startLogin } from "/login.js";
import { session } from "/session.js";

const config = await (await fetch("/config.json")).json();
const app = document.querySelector("#app");

function goTo(path) {
  history.pushState(null, "", path);
  return show();
}

const api = createApi(config, () => goTo("/login?ended"));

function put(template) {
  app.replaceChildren(document.querySelector(`#${template}`).content.cloneNode(true));
}

function fail(message) {
  put("failed");
  app.querySelector("#reason").textContent = message;
}

const routes = {
  "/": () => (session.accessToken === null ? put("signed-out") : showAccount()),
  "/login": () => {
    // after a failed refresh a person decides: the auth service may still know the browser and send it straight back
    if (!location.search.startsWith("?ended")) return startLogin(config);
    put("ended");
    app.querySelector("#sign-in").addEventListener("click", () => startLogin(config));
  },
  "/callback": async () => {
    try {
      await finishLogin(api, config);
    } catch (error) {
      return fail(error.response?.data?.error_description ?? error.message);
    }
    history.replaceState(null, "", "/");
    return show();
  },
  "/signup": () => {
    put("sign-up");
    app.querySelector("form").addEventListener("submit", signUp);
  },
};

async function showAccount() {
  try {
    const { data } = await api.get("/api/users/me");
    put("signed-in");
    app.querySelector("#nickname").textContent = data.data.nickname;
    app.querySelector("#email").textContent = data.data.email;
    app.querySelector("#roles").textContent = data.data.roles.join(", ");
    app.querySelector("#reload").addEventListener("click", show);
    app.querySelector("#sign-out").addEventListener("click", () => logOut(config));
  } catch (error) {
    // the session ended meanwhile: the login is shown already
    if (session.accessToken !== null) fail(error.message);
  }
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

addEventListener("popstate", show);
await show();
