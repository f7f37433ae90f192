import { afterAll, beforeAll, describe } from "@jest/globals";
import { migrate, openDatabase } from "../../src/database/migrate.ts";
import { storeOn } from "../../src/database/open-store.ts";
import { authorizationsContract } from "./contract/authorizations.ts";
import { cleanUpContract } from "./contract/clean-up.ts";
import { clientsContract } from "./contract/clients.ts";
import { clockContract } from "./contract/clock.ts";
import { deviceCodesContract } from "./contract/device-codes.ts";
import { emailVerificationContract } from "./contract/email-verifications.ts";
import { epochsContract } from "./contract/epochs.ts";
import { factorsContract } from "./contract/factors.ts";
import { type OpenedStore, sealer } from "./contract/fixtures.ts";
import { issuerContract } from "./contract/issuer.ts";
import { keysContract } from "./contract/keys.ts";
import { leasesContract } from "./contract/leases.ts";
import { limitsContract } from "./contract/limits.ts";
import { logoutNoticesContract } from "./contract/logout-notices.ts";
import { mailContract } from "./contract/mail.ts";
import { outboxContract } from "./contract/outbox.ts";
import { pushedRequestsContract } from "./contract/pushed-requests.ts";
import { registrationContract } from "./contract/registration.ts";
import { revocationsContract } from "./contract/revocations.ts";
import { schemaContract } from "./contract/schema.ts";
import { sessionsContract } from "./contract/sessions.ts";
import { statementsContract } from "./contract/statements.ts";
import { transactionsContract } from "./contract/transactions.ts";
import { usedOnceContract } from "./contract/used-once.ts";
import { usersContract } from "./contract/users.ts";

/** What every implementation of the store has to do, area by area. @param freshUrl makes an empty database */
export function describeStore(title: string, freshUrl: () => Promise<string>): void {
  describe(title, () => {
    let open: OpenedStore;
    const opened = () => open;

    beforeAll(async () => {
      const database = await openDatabase({ url: await freshUrl() });
      await migrate(database);
      open = { database, store: storeOn(database, { sealer }), freshUrl };
    });
    afterAll(() => open?.database.close());

    schemaContract(opened);
    transactionsContract(opened);
    usersContract(opened);
    emailVerificationContract(opened);
    factorsContract(opened);
    authorizationsContract(opened);
    revocationsContract(opened);
    epochsContract(opened);
    sessionsContract(opened);
    logoutNoticesContract(opened);
    clientsContract(opened);
    registrationContract(opened);
    pushedRequestsContract(opened);
    deviceCodesContract(opened);
    usedOnceContract(opened);
    issuerContract(opened);
    keysContract(opened);
    outboxContract(opened);
    mailContract(opened);
    limitsContract(opened);
    leasesContract(opened);
    clockContract(opened);
    cleanUpContract(opened);
    statementsContract(opened);
  });
}
