import { hasSecondFactor } from "../factors/second-step.ts";
import type { UserToSignIn } from "../store/users.ts";
import { getUserToSignIn } from "../users/users.ts";
import { ownForm, type SignedIn, signedInOf } from "./own-form.ts";
import type { Parameters } from "./parameters.ts";
import type { Visit } from "./visit.ts";

/** So long after it a sign-in may change factors (milliseconds). */
const freshMs = 10 * 60_000;

export interface Owner {
  readonly session: SignedIn;
  readonly user: UserToSignIn;
  /** Signed in within the last minutes, with a second factor if there is one: only then factors are changed. */
  readonly isFresh: boolean;
}

/** Has the user no password to show who they are, and did not sign in just now either? A fresh sign-in comes first. */
export function mustConfirm({ user, isFresh }: Owner): boolean {
  return !user.hasPassword && !isFresh;
}

/** Who is signed in, for a page about their factors; null: nobody. */
export async function ownerOf(visit: Visit): Promise<Owner | null> {
  const session = await signedInOf(visit);
  return session === null ? null : ownerOfSession(visit, session);
}

/** As `ownerOf`, for a form of such a page. @throws FormRefused */
export async function ownerOfForm(
  visit: Visit,
  purposeOf: (form: Parameters) => string,
): Promise<Owner & { readonly form: Parameters }> {
  const { session, form } = await ownForm(visit, purposeOf);
  return { ...(await ownerOfSession(visit, session)), form };
}

async function ownerOfSession({ ctx }: Visit, session: SignedIn): Promise<Owner> {
  const user = await getUserToSignIn(ctx, session.userId);
  const isRecent = (session.authTime ?? 0) + freshMs > ctx.clock.now();
  const isFresh = isRecent && (session.methods.includes("mfa") || !(await hasSecondFactor(ctx, user)));
  return { session, user, isFresh };
}
