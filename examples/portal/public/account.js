import { demandOf } from "/api.js";
import { stepUp } from "/login.js";
import { session } from "/session.js";

/** The page of who is signed in: how they signed in, a payment, their devices. */

const time = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
const money = new Intl.NumberFormat(undefined, { style: "currency", currency: "EUR" });

const strengths = {
  "urn:auth-service:acr:password": "Password",
  "urn:auth-service:acr:two-factor": "Two factors",
  "urn:auth-service:acr:passkey": "Passkey",
};
const methods = {
  pwd: "password",
  otp: "one-time code",
  mfa: "several factors",
  hwk: "passkey",
  swk: "passkey",
  user: "person present",
};

/** Fills in who is signed in. @param user as `/api/users/me` has it */
export function showUser(app, { nickname, email, roles }) {
  const text = (id, value) => {
    app.querySelector(id).textContent = value;
  };
  const { acr, amr = [], auth_time } = session.claims;
  text("#greeting", `Hello, ${nickname}`);
  text("#nickname", nickname);
  text("#email", email);
  text("#roles", roles.join(", "));
  text("#acr", strengths[acr] ?? acr ?? "not said");
  text("#amr", amr.map((method) => methods[method] ?? method).join(", ") || "not said");
  const since = app.querySelector("#auth-time");
  since.textContent = auth_time === undefined ? "not said" : time.format(auth_time * 1000);
  if (auth_time !== undefined) since.dateTime = new Date(auth_time * 1000).toISOString();
}

/**
 * The payment: the API decides whether the sign-in is good enough for it.
 * @param begun one that was begun before the browser went for a stronger sign-in
 */
export function showPayment(app, { api, config, say }, begun) {
  const form = app.querySelector("#payment");
  const receipt = app.querySelector("#receipt");
  const problem = app.querySelector("#payment-problem");
  const complain = (message) => {
    problem.textContent = message;
    problem.hidden = message === "";
  };
  if (begun !== null) {
    form.elements.to.value = begun.to;
    form.elements.amount.value = (begun.amount / 100).toFixed(2);
    if (begun.problem === undefined) say("You confirmed that it is you. Check the payment, then press Pay.");
    else complain(`Nothing was paid: ${begun.problem}.`);
    form.querySelector("button").focus();
  }
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    complain("");
    const payment = { to: form.elements.to.value, amount: Math.round(Number(form.elements.amount.value) * 100) };
    try {
      const { data } = await api.post(`${location.origin}/payments`, payment);
      receipt.textContent = `Paid ${money.format(data.amount / 100)} to ${data.to}. Reference ${data.id}.`;
      receipt.hidden = false;
      form.reset();
    } catch (error) {
      const demand = demandOf(error.response);
      if (demand !== null) return stepUp(config, demand, payment);
      if (session.isOpen) complain(error.response?.data?.message ?? error.message);
    }
  });
}

/** Where the person is signed in; the account page ends what they do not know. */
export async function showDevices(app, { api, config }) {
  const list = app.querySelector("#devices");
  app.querySelector("#account-link").href = `${config.issuer}/`;
  try {
    const { data } = await api.get(`${location.origin}/devices`);
    list.replaceChildren(...data.devices.map(deviceItem));
  } catch (error) {
    if (!session.isOpen) return;
    app.querySelector("#devices-problem").textContent = `Your devices cannot be shown: ${error.message}.`;
    app.querySelector("#devices-problem").hidden = false;
  } finally {
    list.removeAttribute("aria-busy");
  }
}

function deviceItem({ name, ipAddress, lastSeenAt }) {
  const item = document.querySelector("#device").content.cloneNode(true);
  item.querySelector(".device-name").textContent = name;
  item.querySelector(".device-address").textContent = ipAddress;
  const seen = item.querySelector("time");
  seen.dateTime = lastSeenAt;
  seen.textContent = time.format(new Date(lastSeenAt));
  return item;
}
