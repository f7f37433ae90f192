import { create, fromJson, type JsonObject, toJson } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import type { ServiceImpl } from "@connectrpc/connect";
import { type StandardClaims, StandardClaimsSchema, type UserService } from "../../gen/auth/v1/user_pb.ts";
import { AuthError } from "../errors.ts";
import type { OAuthContext } from "../oauth/context.ts";
import type { User } from "../store/users.ts";
import { requestPasswordReset, resetPassword } from "../users/password-reset.ts";
import {
  batchGetUsers,
  changePassword,
  deleteUser,
  endSessions,
  getUser,
  getUserByEmail,
  listUsers,
  setUserDisabled,
  signUp,
  updateUser,
} from "../users/users.ts";
import { callerOf, callOf, demandScope } from "./caller.ts";
import { withinDeadline } from "./within-deadline.ts";

export function userService(ctx: OAuthContext): ServiceImpl<typeof UserService> {
  return {
    async getUser({ uuid }) {
      return { user: toUser(await getUser(ctx, uuid)) };
    },

    async getUserByEmail({ email }) {
      return { user: toUser(await getUserByEmail(ctx, email)) };
    },

    async batchGetUsers({ uuids }) {
      return { users: (await batchGetUsers(ctx, uuids)).map(toUser) };
    },

    async listUsers({ pageSize, pageToken }) {
      const { users, nextPageToken } = await listUsers(ctx, { size: pageSize, token: pageToken });
      return { users: users.map(toUser), nextPageToken };
    },

    async signUp({ email, password, nickname }, context) {
      return { user: toUser(await signUp(withinDeadline(ctx, context), { email, password, nickname })) };
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
          violations: [{ field: "update_mask", message }],
        });
      }
      const change = Object.assign({}, ...[...paths].map((path) => fields[path])) as Parameters<typeof updateUser>[2];
      return { user: toUser(await updateUser(withinDeadline(ctx, context), uuid, change)) };
    },

    async changePassword({ uuid, currentPassword, newPassword }, context) {
      await changePassword(withinDeadline(ctx, context), { uuid, currentPassword, newPassword });
      return {};
    },

    async requestPasswordReset({ email }, context) {
      await requestPasswordReset(withinDeadline(ctx, context), {
        email,
        ipAddress: callOf(context).credentials.network,
      });
      return {};
    },

    async resetPassword({ token, newPassword }, context) {
      await resetPassword(withinDeadline(ctx, context), { token, newPassword });
      return {};
    },

    async disableUser({ uuid }, context) {
      await setUserDisabled(withinDeadline(ctx, context), uuid, true);
      return {};
    },

    async enableUser({ uuid }, context) {
      await setUserDisabled(withinDeadline(ctx, context), uuid, false);
      return {};
    },

    async endSessions({ uuid }, context) {
      await endSessions(withinDeadline(ctx, context), uuid);
      return {};
    },

    async deleteUser({ uuid }, context) {
      await deleteUser(withinDeadline(ctx, context), uuid);
      return {};
    },
  };
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
