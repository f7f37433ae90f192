import { beforeAll, describe, expect, it } from "@jest/globals";
import type { PushedRequest } from "../../../src/store/pushed-requests.ts";
import type { Store } from "../../../src/store/store.ts";
import { hash, makeCode, makePushedRequest, NOW, type OpenedStore, signIn, signUp, times } from "./fixtures.ts";

/** @param opened gives the store once the tests run */
export function pushedRequestsContract(opened: () => OpenedStore): void {
  describe("pushed authorization requests", () => {
    let store: Store;
    beforeAll(() => {
      ({ store } = opened());
    });

    async function pushed(over: Partial<PushedRequest> = {}): Promise<PushedRequest> {
      const parameters = { scope: "openid", state: "a state with ünïcode" };
      const request = makePushedRequest({ parameters, ...over });
      await store.pushedRequests.save(request);
      return request;
    }

    it("returns a request as it was saved, until it expires", async () => {
      const request = await pushed();
      expect(await store.pushedRequests.find(request.uriHash, NOW)).toEqual(request);
      expect(await store.pushedRequests.find(request.uriHash, request.expiresAt - 1)).toEqual(request);
      expect(await store.pushedRequests.find(request.uriHash, request.expiresAt)).toBeNull();
      expect(await store.pushedRequests.find(hash(), NOW)).toBeNull();
    });

    it("gives a code for a request to exactly one of 20 callers, and does not find the request afterwards", async () => {
      const request = await pushed();
      const session = await signIn(store, await signUp(store));
      const answers = await times(20, () =>
        store.authorizations.createCode(makeCode(session), { hash: request.uriHash, mayRepeat: false }),
      );
      expect(answers.sort()).toEqual(["created", ...Array(19).fill("request_used")]);
      expect(await store.pushedRequests.find(request.uriHash, NOW)).toBeNull();
    });

    it("keeps a request whose code could not be given because the session had ended", async () => {
      const request = await pushed();
      const session = await signIn(store, await signUp(store));
      await store.sessions.end(session.idHash, NOW);
      expect(
        await store.authorizations.createCode(makeCode(session), { hash: request.uriHash, mayRepeat: false }),
      ).toBe("session_ended");
      expect(await store.pushedRequests.find(request.uriHash, NOW)).toEqual(request);
    });

    it("deletes a request an hour after it expired", async () => {
      const request = await pushed();
      await store.cleanUp(request.expiresAt + 3_600_000, 1000);
      expect(await store.pushedRequests.find(request.uriHash, NOW)).toEqual(request);
      await store.cleanUp(request.expiresAt + 3_600_001, 1000);
      expect(await store.pushedRequests.find(request.uriHash, NOW)).toBeNull();
    });
  });
}
