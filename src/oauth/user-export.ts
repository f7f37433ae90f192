import { listSessions } from "../sessions/sessions.ts";
import { pendingEmailOf } from "../users/email-verification.ts";
import { getUser } from "../users/users.ts";
import { listApplications } from "./authorization/consents.ts";
import type { OAuthContext } from "./context.ts";

const authorizationsAtOnce = 500;

type Json = string | number | boolean | null | Json[] | { [member: string]: Json };

/**
 * Everything that is stored about a user, without what signs in or opens anything: passwords, tokens and their hashes.
 * @throws AuthError not_found
 */
export async function exportUser(ctx: OAuthContext, uuid: string): Promise<{ [member: string]: Json }> {
  const user = await getUser(ctx, uuid);
  const pendingEmail = await pendingEmailOf(ctx, uuid);
  return {
    exportedAt: timeOf(ctx.clock.now()),
    account: {
      uuid,
      email: user.email,
      emailVerified: user.emailVerified,
      pendingEmail,
      roles: [...user.roles],
      language: user.language,
      disabledAt: timeOrNull(user.disabledAt),
      createdAt: timeOf(user.createdAt),
      updatedAt: timeOf(user.updatedAt),
    },
    profile: { nickname: user.nickname, ...(JSON.parse(JSON.stringify(user.claims)) as { [member: string]: Json }) },
    factors: await factorsOf(ctx, uuid),
    sessions: (await listSessions(ctx, uuid)).map((session) => ({
      ipAddress: session.ipAddress,
      userAgent: session.userAgent,
      createdAt: timeOf(session.createdAt),
      lastSeenAt: timeOf(session.lastSeenAt),
      expiresAt: timeOf(session.expiresAt),
    })),
    applications: (await listApplications(ctx, uuid)).map(({ clientId, name, scopes, since }) => {
      return { clientId, name, scopes: [...scopes], since: timeOf(since) };
    }),
    authorizations: await authorizationsOf(ctx, uuid),
  };
}

async function factorsOf(ctx: OAuthContext, uuid: string): Promise<Json> {
  const { totp, passkeys, recoveryCodes } = await ctx.store.factors.find(uuid);
  return {
    authenticatorAppAddedAt: timeOrNull(totp?.createdAt ?? null),
    passkeys: passkeys.map(({ name, createdAt, lastUsedAt }) => ({
      name,
      createdAt: timeOf(createdAt),
      lastUsedAt: timeOrNull(lastUsedAt),
    })),
    recoveryCodesLeft: recoveryCodes,
  };
}

async function authorizationsOf(ctx: OAuthContext, uuid: string): Promise<Json[]> {
  const all: Json[] = [];
  for (let after: { createdAt: number; id: string } | null = null; ; ) {
    const page = await ctx.store.authorizations.listOfUser(uuid, after, authorizationsAtOnce, ctx.clock.now());
    for (const each of page) {
      all.push({
        sid: each.id,
        clientId: each.clientId,
        grantType: each.grantType,
        scope: each.scope,
        ipAddress: each.ipAddress,
        userAgent: each.userAgent,
        signedInAt: timeOrNull(each.authTime),
        createdAt: timeOf(each.createdAt),
        lastUsedAt: timeOrNull(each.lastUsedAt),
        expiresAt: timeOf(each.expiresAt),
        revokedAt: timeOrNull(each.revokedAt),
      });
    }
    const last = page.at(-1);
    if (last === undefined || page.length < authorizationsAtOnce) return all;
    after = { createdAt: last.createdAt, id: last.id };
  }
}

function timeOf(at: number): string {
  return new Date(at).toISOString();
}

function timeOrNull(at: number | null): string | null {
  return at === null ? null : timeOf(at);
}
