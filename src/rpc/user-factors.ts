import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import type { ServiceImpl } from "@connectrpc/connect";
import type { UserService } from "../../gen/auth/v1/user_pb.ts";
import { randomToken } from "../crypto/hashes.ts";
import { AuthError } from "../errors.ts";
import { listFactors, removePasskey, removeTotp, renamePasskey, resetFactors } from "../factors/factors.ts";
import { noPasskeys } from "../factors/passkey-answers.ts";
import { addPasskey, offerPasskey } from "../factors/passkey-enrolment.ts";
import { makeRecoveryCodes } from "../factors/recovery-codes.ts";
import { beginTotp, confirmTotp } from "../factors/totp.ts";
import type { OAuthContext } from "../oauth/context.ts";
import { MAX_PASSKEYS } from "../store/factors.ts";
import { getUser } from "../users/users.ts";
import { askerOf } from "./caller.ts";
import { readId, readUuid } from "./identifiers.ts";
import { withinDeadline } from "./within-deadline.ts";

type FactorMethods = Pick<
  ServiceImpl<typeof UserService>,
  | "listFactors"
  | "beginPasskey"
  | "addPasskey"
  | "removePasskey"
  | "renamePasskey"
  | "beginTotp"
  | "addTotp"
  | "removeTotp"
  | "makeRecoveryCodes"
  | "resetFactors"
>;

/** @returns null: the call has no name @throws AuthError invalid_request */
function readAttempt(attempt: string): string | null {
  if (attempt === "") return null;
  if (attempt.length < 16 || attempt.length > 200) {
    throw new AuthError("invalid_request", "attempt must have 16 to 200 characters");
  }
  return attempt;
}

/** The methods of UserService about passkeys and second factors. */
export function factorMethods(ctx: OAuthContext): FactorMethods {
  const userOf = (uuid: string) => getUser(ctx, readUuid("uuid", uuid));
  return {
    async listFactors({ uuid }) {
      const { totp, passkeys, recoveryCodes } = await listFactors(ctx, readUuid("uuid", uuid));
      const shown = passkeys.map(({ credentialId, name, createdAt, lastUsedAt }) => ({
        credentialId,
        name,
        createdAt: timestampFromMs(createdAt),
        ...(lastUsedAt === null ? {} : { lastUsedAt: timestampFromMs(lastUsedAt) }),
      }));
      return { hasTotp: totp !== null, passkeys: shown, recoveryCodes };
    },

    async beginPasskey({ uuid }) {
      const user = await userOf(uuid);
      const attempt = randomToken();
      const { passkeys } = await listFactors(ctx, user.uuid);
      const options = offerPasskey(ctx, attempt, user, passkeys);
      if (options === null) throw noPasskeys();
      return { optionsJson: JSON.stringify(options), attempt };
    },

    async addPasskey({ uuid, attempt, credentialJson: credential, name }, context) {
      const made = { credential, form: attempt, attempt, name };
      const outcome = await withinDeadline(context, async () =>
        addPasskey(ctx, await userOf(uuid), made, { asker: askerOf(context) }),
      );
      if (outcome === "full") throw new AuthError("invalid_request", `a user has at most ${MAX_PASSKEYS} passkeys`);
      return {};
    },

    async removePasskey({ uuid, credentialId }, context) {
      const outcome = await withinDeadline(context, () =>
        removePasskey(ctx, readUuid("uuid", uuid), readId("credential_id", credentialId), { asker: askerOf(context) }),
      );
      if (outcome === "only_way_in") throw new AuthError("invalid_request", "the account has no other way in");
      return {};
    },

    async renamePasskey({ uuid, credentialId, name }, context) {
      const renamed = await withinDeadline(context, () =>
        renamePasskey(ctx, readUuid("uuid", uuid), { credentialId: readId("credential_id", credentialId), name }),
      );
      if (!renamed) throw new AuthError("not_found", "the user has no such passkey");
      return {};
    },

    async beginTotp({ uuid }) {
      const { secret, uri, sealed } = beginTotp(ctx, await userOf(uuid), new URL(ctx.config.issuer).host);
      return { secret, uri, sealedSecret: sealed };
    },

    async addTotp({ uuid, sealedSecret: sealed, code }, context) {
      const outcome = await withinDeadline(context, async () =>
        confirmTotp(ctx, await userOf(uuid), { sealed, code }, { asker: askerOf(context) }),
      );
      if (outcome === "wrong" || outcome === "clock") throw new AuthError("invalid_credentials", "the code is wrong");
      if (outcome === "exists") throw new AuthError("invalid_request", "the user has an authenticator app already");
      return {};
    },

    async removeTotp({ uuid }, context) {
      await withinDeadline(context, () => removeTotp(ctx, readUuid("uuid", uuid), { asker: askerOf(context) }));
      return {};
    },

    async makeRecoveryCodes({ uuid, attempt }, context) {
      const made = await withinDeadline(context, () =>
        makeRecoveryCodes(ctx, readUuid("uuid", uuid), readAttempt(attempt), { asker: askerOf(context) }),
      );
      if (made.outcome === "none")
        throw new AuthError("invalid_request", "the user has no authenticator app and no passkey: add one first");
      if (made.outcome === "shown")
        throw new AuthError("invalid_request", "this attempt made codes, which are shown no more: use another one");
      return { codes: [...made.codes] };
    },

    async resetFactors({ uuid }, context) {
      await withinDeadline(context, () => resetFactors(ctx, readUuid("uuid", uuid)));
      return {};
    },
  };
}
