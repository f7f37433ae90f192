import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import type { ServiceImpl } from "@connectrpc/connect";
import type { UserService } from "../../gen/auth/v1/user_pb.ts";
import { randomToken } from "../crypto/hashes.ts";
import { AuthError } from "../errors.ts";
import { listFactors, resetFactors } from "../factors/factors.ts";
import { noPasskeys } from "../factors/passkey-answers.ts";
import { addPasskey, MAX_PASSKEYS, offerPasskey } from "../factors/passkey-enrolment.ts";
import { makeRecoveryCodes } from "../factors/recovery-codes.ts";
import { beginTotp, confirmTotp } from "../factors/totp.ts";
import type { OAuthContext } from "../oauth/context.ts";
import { getUser } from "../users/users.ts";
import { askerOf } from "./caller.ts";
import { readUuid } from "./identifiers.ts";
import { withinDeadline } from "./within-deadline.ts";

type FactorMethods = Pick<
  ServiceImpl<typeof UserService>,
  "listFactors" | "beginPasskey" | "addPasskey" | "beginTotp" | "addTotp" | "makeRecoveryCodes" | "resetFactors"
>;

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
        addPasskey(ctx, await userOf(uuid), made, askerOf(context)),
      );
      if (outcome === "full") throw new AuthError("invalid_request", `a user has at most ${MAX_PASSKEYS} passkeys`);
      return {};
    },

    async beginTotp({ uuid }) {
      const { secret, uri, sealed } = beginTotp(ctx, await userOf(uuid), new URL(ctx.config.issuer).host);
      return { secret, uri, sealedSecret: sealed };
    },

    async addTotp({ uuid, sealedSecret: sealed, code }, context) {
      const outcome = await withinDeadline(context, async () =>
        confirmTotp(ctx, await userOf(uuid), { sealed, code }, askerOf(context)),
      );
      if (outcome === "wrong") throw new AuthError("invalid_credentials", "the code is wrong");
      if (outcome === "exists") throw new AuthError("invalid_request", "the user has an authenticator app already");
      return {};
    },

    async makeRecoveryCodes({ uuid }, context) {
      const codes = await withinDeadline(context, () => makeRecoveryCodes(ctx, readUuid("uuid", uuid)));
      return { codes: [...codes] };
    },

    async resetFactors({ uuid }, context) {
      await withinDeadline(context, () => resetFactors(ctx, readUuid("uuid", uuid)));
      return {};
    },
  };
}
