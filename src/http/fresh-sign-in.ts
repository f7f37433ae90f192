import { hasSecondFactor } from "../factors/second-step.ts";
import type { BrowserSession } from "../sessions/sessions.ts";
import type { UserToSignIn } from "../store/users.ts";
import { getUserToSignIn } from "../users/users.ts";
import { checkForm, FormRefused } from "./forms.ts";
import { type Parameters, readForm } from "./parameters.ts";
import { sessionOf, type Visit } from "./visit.ts";

/** So long after it a sign-in may change factors (milliseconds). */
const freshMs = 10 * 60_000;

export interface Owner {
  readonly session: BrowserSession;
  readonly user: UserToSignIn;
  /** Signed in within the last minutes, with a second factor if there is one: only then factors are changed. */
  readonly isFresh: boolean;
}

/** Who is signed in, for a page about their factors; null: nobody. */
export async function ownerOf(visit: Visit): Promise<Owner | null> {
  const session = await sessionOf(visit);
  return session === null || session.userId === null ? null : ownerOfSession(visit, session);
}

/** As `ownerOf`, for a form of such a page. @throws FormRefused */
export async function ownerOfForm(
  visit: Visit,
  purposeOf: (form: Parameters) => string,
): Promise<Owner & { readonly form: Parameters }> {
  const form = readForm(visit.request);
  const session = await checkForm(visit, purposeOf(form), form);
  if (session.userId === null) throw new FormRefused();
  return { ...(await ownerOfSession(visit, session)), form };
}

async function ownerOfSession({ ctx }: Visit, session: BrowserSession): Promise<Owner> {
  const user = await getUserToSignIn(ctx, session.userId ?? "");
  const isRecent = (session.authTime ?? 0) + freshMs > ctx.clock.now();
  const isFresh = isRecent && (session.methods.includes("mfa") || !(await hasSecondFactor(ctx, user)));
  return { session, user, isFresh };
}
