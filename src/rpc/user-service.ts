import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import type { ServiceImpl } from "@connectrpc/connect";
import type { UserService } from "../../gen/auth/v1/user_pb.ts";
import type { Context } from "../context.ts";
import { AuthError } from "../errors.ts";
import type { User } from "../store.ts";
import { requestPasswordReset, resetPassword } from "../users/password-reset.ts";
import {
  batchGetUsers,
  changePassword,
  deleteUser,
  getUser,
  getUserByEmail,
  listUsers,
  setUserDisabled,
  signUp,
  updateUser,
} from "../users/users.ts";
import { callerOf, callOf, demandScope } from "./caller.ts";
import { withinDeadline } from "./within-deadline.ts";

export function userService(ctx: Context): ServiceImpl<typeof UserService> {
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

    async updateUser({ uuid, nickname, roles, updateMask }, context) {
      const paths = new Set(updateMask?.paths);
      if (paths.has("roles")) demandScope(callerOf(context), "auth.users.admin");
      const unknown = [...paths].find((path) => path !== "nickname" && path !== "roles");
      if (paths.size === 0 || unknown !== undefined) {
        const message = "must name nickname, roles or both";
        throw new AuthError("invalid_input", `update_mask ${message}`, {
          violations: [{ field: "update_mask", message }],
        });
      }
      const change = { ...(paths.has("nickname") ? { nickname } : {}), ...(paths.has("roles") ? { roles } : {}) };
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

    async deleteUser({ uuid }, context) {
      await deleteUser(withinDeadline(ctx, context), uuid);
      return {};
    },
  };
}

function toUser(user: User) {
  const { uuid, email, nickname, roles, disabledAt, createdAt } = user;
  return {
    uuid,
    email,
    nickname,
    roles: [...roles],
    disabled: disabledAt !== null,
    createdAt: timestampFromMs(createdAt),
  };
}
