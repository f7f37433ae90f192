import { expect, it } from "@jest/globals";
import { deleteUser } from "../../../src/users/deletion.ts";
import { endSessions } from "../../../src/users/users.ts";
import { createVerifier } from "../../../src/verifier/verifier.ts";
import { startApp } from "../../support/app.ts";
import { getTokens, introspect, portal, signUp } from "../../support/flow.ts";

const minutes = 60_000;
const credentials = { clientId: "checker", clientSecret: "a secret of at least thirty-two characters" };
const clients = [
  {
    client_id: credentials.clientId,
    client_secret: credentials.clientSecret,
    grant_types: ["client_credentials"],
    scope: "auth.introspect",
  },
  {
    client_id: portal.clientId,
    redirect_uris: [portal.redirectUri],
    scope: "openid profile read write",
    first_party: true,
  },
];
const basic = `Basic ${btoa(`${credentials.clientId}:${encodeURIComponent(credentials.clientSecret)}`)}`;

it("C-06 tokens of a longer lifetime stay revoked after it was lowered, at introspection and in verifiers", async () => {
  const first = await startApp({ ACCESS_TOKEN_TTL: "3600" }, clients);
  const issued = async () => {
    const user = await signUp(first.url);
    return { uuid: user.uuid, token: (await getTokens(first.url, user)).access_token };
  };
  const [signedOut, deleted, kept] = [await issued(), await issued(), await issued()];
  const { env } = first;
  await first.close();

  const second = await startApp({ ...env, ACCESS_TOKEN_TTL: "120" });
  await endSessions(second.context, signedOut.uuid);
  await deleteUser(second.context, deleted.uuid);
  while ((await second.context.store.cleanUp(second.clock.now() + 12 * minutes, 1_000)) > 0);
  await second.close();

  // knows what the database kept
  const third = await startApp({ ...env, ACCESS_TOKEN_TTL: "120" });
  const verifier = createVerifier({
    issuer: third.env["ISSUER"] ?? "",
    audience: portal.clientId,
    stream: { baseUrl: `http://${third.grpc}`, credentials },
    maxStalenessMs: 60_000,
    onStreamLost: "fail-closed",
  });
  try {
    await verifier.ready();
    const seen = [];
    for (const { token } of [signedOut, deleted, kept]) {
      const { active } = await introspect(third.url, token, basic);
      seen.push([active, (await verifier.verify(token)).allowed]);
    }
    expect(seen).toEqual([
      [false, false],
      [false, false],
      [true, true],
    ]);
  } finally {
    await verifier.close();
    await third.close();
  }
});
