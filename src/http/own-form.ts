import type { BrowserSession } from "../sessions/sessions.ts";
import { checkForm, FormRefused } from "./forms.ts";
import { type Parameters, readForm } from "./parameters.ts";
import { sessionOf, type Visit } from "./visit.ts";

/** A session in which a user is signed in. */
export type SignedIn = BrowserSession & { readonly userId: string };

export function isSignedIn(session: BrowserSession | null): session is SignedIn {
  return session !== null && session.userId !== null;
}

/** The signed-in session of the browser; null: a login comes first. */
export async function signedInOf(visit: Visit): Promise<SignedIn | null> {
  const session = await sessionOf(visit);
  return isSignedIn(session) ? session : null;
}

/** A form of a signed-in user's page and the session it belongs to. @throws FormRefused */
export async function ownForm(
  visit: Visit,
  purposeOf: (form: Parameters) => string,
): Promise<{ session: SignedIn; form: Parameters }> {
  const form = readForm(visit.request);
  const session = await checkForm(visit, purposeOf(form), form);
  if (!isSignedIn(session)) throw new FormRefused();
  return { session, form };
}
