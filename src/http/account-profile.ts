import type { FastifyInstance, FastifyReply } from "fastify";
import type { OAuthContext } from "../oauth/context.ts";
import type { StandardClaims } from "../store/users.ts";
import { getUser, updateUser } from "../users/users.ts";
import { refusalOn } from "./error-table.ts";
import { formFields } from "./forms.ts";
import { ownForm, type SignedIn, signedInOf } from "./own-form.ts";
import { pageRoutes } from "./page-routes.ts";
import { renderPage } from "./pages/render.ts";
import { type Parameters, readQuery } from "./parameters.ts";
import { pathOf, type Visit } from "./visit.ts";

const path = "/account/profile";

/** The claims that users edit themselves; those that other services set stay as they are. */
const claimFields = [
  ...(["name", "given_name", "family_name", "website", "picture"] as const),
  ...(["birthdate", "zoneinfo", "locale"] as const),
];

/** GET and POST /account/profile: nickname and standard claims. */
export function accountProfilePage(app: FastifyInstance, ctx: OAuthContext): void {
  const page = pageRoutes(app, ctx);

  page.get(path, async (visit) => {
    const session = await signedInOf(visit);
    if (session === null) return visit.reply.redirect(pathOf(ctx, "/login"), 302);
    const { nickname, claims } = await getUser(ctx, session.userId);
    return showProfile(visit, session, { values: { nickname, ...valuesOf(claims) }, wrong: [] });
  });

  page.post(path, async (visit) => {
    const { session, form } = await ownForm(visit, () => path);
    try {
      await updateUser(ctx, session.userId, { nickname: form["nickname"] ?? "", someClaims: typedIn(form) });
    } catch (thrown) {
      const error = refusalOn(visit.reply, thrown, ["invalid_input"]);
      return showProfile(visit, session, { values: form, wrong: error.violations.map(({ field }) => field) });
    }
    return visit.reply.redirect(`${pathOf(ctx, path)}?done=1`, 303);
  });
}

function valuesOf(claims: StandardClaims): Parameters {
  return Object.fromEntries(claimFields.map((name) => [name, claims[name] ?? ""]));
}

/** The claims that the form has. */
function typedIn(form: Parameters): Record<string, string> {
  return Object.fromEntries(
    claimFields.flatMap((name) => (form[name] === undefined ? [] : [[name, form[name].trim()] as const])),
  );
}

function showProfile(
  visit: Visit,
  session: SignedIn,
  { values, wrong }: { readonly values: Parameters; readonly wrong: readonly string[] },
): FastifyReply {
  return renderPage(visit, "account-profile", {
    fields: formFields(session, path, {}),
    values,
    wrongFields: wrong,
    isSaved: readQuery(visit.request)["done"] === "1",
  });
}
