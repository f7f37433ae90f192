import { randomUUID } from "node:crypto";
import { create, fromJson, type JsonObject, toJson } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import type { ServiceImpl } from "@connectrpc/connect";
import { type StandardClaims, StandardClaimsSchema, type UserService } from "../../gen/auth/v1/user_pb.ts";
import { randomToken } from "../crypto/hashes.ts";
import { AuthError } from "../errors.ts";
import { noPasskeys } from "../factors/passkey-answers.ts";
import { createAccountWithPasskey, offerPasskey } from "../factors/passkey-enrolment.ts";
import type { OAuthContext } from "../oauth/context.ts";
import { exportUser } from "../oauth/user-export.ts";
import type { User } from "../store/users.ts";
import { cancelDeletion, deleteUser, requestDeletion } from "../users/deletion.ts";
import { requestEmailChange, requestEmailVerification, verifyEmail } from "../users/email-verification.ts";
import { normaliseEmail, readEmail } from "../users/input.ts";
import { requestPasswordReset, resetPassword } from "../users/password-reset.ts";
import { readFreeNames, signUp } from "../users/sign-up.ts";
import {
  batchGetUsers,
  changePassword,
  endSessions,
  getUser,
  getUserByEmail,
  listUsers,
  setUserDisabled,
  updateUser,
} from "../users/users.ts";
import { askerOf, callerOf, demandScope, personOf } from "./caller.ts";
import { readUuid } from "./identifiers.ts";
import { factorMethods } from "./user-factors.ts";
import { withinDeadline } from "./within-deadline.ts";

export function userService(ctx: OAuthContext): ServiceImpl<typeof UserService> {
  return {
    async getUser({ uuid }) {
      return { user: toUser(await getUser(ctx, readUuid("uuid", uuid))) };
    },

    async getUserByEmail({ email }) {
      try {
        return { user: toUser(await getUserByEmail(ctx, email)) };
      } catch (error) {
        // no address names nobody: that is the caller's mistake
        if (error instanceof AuthError && error.code === "not_found") readEmail(email);
        throw error;
      }
    },

    async batchGetUsers({ uuids }) {
      return {
        users: (
          await batchGetUsers(
            ctx,
            uuids.map((uuid) => readUuid("uuids", uuid)),
          )
        ).map(toUser),
      };
    },

    async listUsers({ pageSize, pageToken }) {
      const { users, nextPageToken } = await listUsers(ctx, { size: pageSize, token: pageToken });
      return { users: users.map(toUser), nextPageToken };
    },

    async signUp({ email, password, nickname }, context) {
      const person = personOf(context);
      const user = await withinDeadline(context, () => signUp(ctx, { email, password, nickname }, person));
      return { user: toUser(user) };
    },

    async beginPasskeySignUp({ email, nickname }) {
      const uuid = randomUUID();
      const names = await readFreeNames(ctx, { uuid, email, nickname });
      const attempt = randomToken();
      const options = offerPasskey(ctx, formOf(attempt, names.email), { uuid, ...names }, []);
      if (options === null) throw noPasskeys();
      return { uuid, optionsJson: JSON.stringify(options), attempt };
    },

    async signUpWithPasskey({ uuid, attempt, email, nickname, credentialJson: credential, name }, context) {
      const account = { uuid: readUuid("uuid", uuid), email, nickname };
      const made = { credential, form: formOf(attempt, email), attempt, name };
      const person = personOf(context);
      const { user } = await withinDeadline(context, () => createAccountWithPasskey(ctx, account, made, person));
      return { user: toUser(user) };
    },

    async updateUser({ uuid, nickname, roles, claims, emailVerified, updateMask }, context) {
      const paths = new Set(updateMask?.paths);
      for (const path of paths) if (adminFields.has(path)) demandScope(callerOf(context), "auth.users.admin");
      const fields: Record<string, object> = {
        nickname: { nickname },
        roles: { roles },
        claims: { claims: fromClaims(claims) },
        email_verified: { emailVerified },
      };
      if (paths.size === 0 || [...paths].some((path) => !Object.hasOwn(fields, path))) {
        const message = `must name some of ${Object.keys(fields).join(", ")}`;
        throw new AuthError("invalid_input", `update_mask ${message}`, {
          violations: [{ field: "update_mask", rule: "wrong_format", message }],
        });
      }
      const change = Object.assign({}, ...[...paths].map((path) => fields[path])) as Parameters<typeof updateUser>[2];
      return { user: toUser(await withinDeadline(context, () => updateUser(ctx, readUuid("uuid", uuid), change))) };
    },

    async changePassword({ uuid, currentPassword, newPassword }, context) {
      const change = { uuid: readUuid("uuid", uuid), currentPassword, newPassword, asker: personOf(context) };
      await withinDeadline(context, () => changePassword(ctx, change));
      return {};
    },

    async requestPasswordReset({ email }, context) {
      await withinDeadline(context, () => requestPasswordReset(ctx, { email, asker: askerOf(context) }));
      return {};
    },

    async requestEmailVerification({ email }, context) {
      await withinDeadline(context, () => requestEmailVerification(ctx, { email, asker: askerOf(context) }));
      return {};
    },

    async requestEmailChange({ uuid, currentPassword, email }, context) {
      // for a user who has no password, the caller vouches that they signed in just now
      const proof = { currentPassword, isFreshSignIn: currentPassword === "" };
      const change = { uuid: readUuid("uuid", uuid), ...proof, email, asker: askerOf(context) };
      await withinDeadline(context, () => requestEmailChange(ctx, change));
      return {};
    },

    async verifyEmail({ token }, context) {
      const person = personOf(context);
      return { user: toUser(await withinDeadline(context, () => verifyEmail(ctx, token, person))) };
    },

    async resetPassword({ token, newPassword }, context) {
      const reset = { token, newPassword, asker: personOf(context) };
      await withinDeadline(context, () => resetPassword(ctx, reset));
      return {};
    },

    async disableUser({ uuid }, context) {
      await withinDeadline(context, () => setUserDisabled(ctx, readUuid("uuid", uuid), true));
      return {};
    },

    async enableUser({ uuid }, context) {
      await withinDeadline(context, () => setUserDisabled(ctx, readUuid("uuid", uuid), false, askerOf(context)));
      return {};
    },

    ...factorMethods(ctx),

    async endSessions({ uuid }, context) {
      await withinDeadline(context, () => endSessions(ctx, readUuid("uuid", uuid)));
      return {};
    },

    async requestDeletion({ uuid }, context) {
      const erasedAt = await withinDeadline(context, () =>
        requestDeletion(ctx, readUuid("uuid", uuid), askerOf(context)),
      );
      return { erasedAt: timestampFromMs(erasedAt) };
    },

    async cancelDeletion({ uuid }, context) {
      await withinDeadline(context, () => cancelDeletion(ctx, readUuid("uuid", uuid), askerOf(context)));
      return {};
    },

    async exportUser({ uuid }) {
      return { data: await exportUser(ctx, readUuid("uuid", uuid)) };
    },

    async deleteUser({ uuid }, context) {
      await withinDeadline(context, () => deleteUser(ctx, readUuid("uuid", uuid)));
      return {};
    },
  };
}

/** What a sign-up's passkey is made for: its authenticator shows the address, which is the account's then. */
function formOf(attempt: string, email: string): string {
  return `${attempt}\n${normaliseEmail(email)}`;
}

const adminFields = new Set(["roles", "email_verified"]);

function toUser(user: User) {
  const { uuid, email, nickname, roles, disabledAt, createdAt, emailVerified, claims } = user;
  return {
    uuid,
    email,
    nickname,
    roles: [...roles],
    disabled: disabledAt !== null,
    createdAt: timestampFromMs(createdAt),
    emailVerified,
    claims: fromJson(StandardClaimsSchema, claims as JsonObject),
  };
}

/** The claims by their names in the standard; empty ones are not there. */
function fromClaims(claims: StandardClaims | undefined): JsonObject {
  return toJson(StandardClaimsSchema, claims ?? create(StandardClaimsSchema), {
    useProtoFieldName: true,
  }) as JsonObject;
}
