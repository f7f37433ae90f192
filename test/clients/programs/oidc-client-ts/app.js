// An app without a server of its own, signed in with oidc-client-ts. Where it comes back to is told by the path.
const { UserManager } = globalThis.oidc;

const settings = await (await fetch("/settings.json")).json();
const manager = new UserManager({
  ...settings,
  redirect_uri: `${location.origin}/callback`,
  silent_redirect_uri: `${location.origin}/silent`,
  post_logout_redirect_uri: `${location.origin}/signed-out`,
  scope: "openid profile email",
  loadUserInfo: true,
});

const status = document.querySelector("[role=status]");
const alert = document.querySelector("[role=alert]");

function show(user) {
  status.textContent = user === null ? "Signed out" : `Signed in as ${user.profile.nickname}, ${user.profile.email}`;
}

/** Runs it and says what it throws. */
async function run(work) {
  alert.textContent = "";
  try {
    await work();
  } catch (error) {
    alert.textContent = error.error ?? error.message;
  }
}

const on = (id, work) => document.getElementById(id).addEventListener("click", () => run(work));
on("sign-in", () => manager.signinRedirect());
on("sign-in-again", () => manager.signinRedirect({ prompt: "none" }));
on("renew", async () => show(await manager.signinSilent()));
on("renew-in-frame", async () => {
  // without a refresh token the library can only open a hidden frame
  await manager.removeUser();
  status.textContent = "Renewing";
  show(await manager.signinSilent());
});
on("sign-out", () => manager.signoutRedirect());

const returns = {
  "/callback": () => manager.signinRedirectCallback(),
  "/silent": () => manager.signinSilentCallback(),
  "/signed-out": () => manager.signoutRedirectCallback(),
};
await run(async () => {
  await returns[location.pathname]?.();
});
if (location.pathname !== "/silent") {
  history.replaceState(null, "", "/");
  show(await manager.getUser());
}
