import { MethodOptions_IdempotencyLevel } from "@bufbuild/protobuf/wkt";
import { expect, test } from "@jest/globals";
import { app, useInternalApp, worker } from "./internal-app.ts";
import { allMethods } from "./stand-ins.ts";

useInternalApp();

test("S-190 GET reaches methods without side effects only, and none of them takes a token or a password", async () => {
  for (const method of allMethods) {
    const free = method.idempotency === MethodOptions_IdempotencyLevel.NO_SIDE_EFFECTS;
    const url = `${app.internalUrl}/${method.parent.typeName}/${method.name}?connect=v1&encoding=json&message=%7B%7D`;
    const { status } = await fetch(url, { headers: worker });
    const takesSecrets = method.input.fields.some(({ name }) =>
      /^(token|tokens|.*password|.*secret|code|refresh_token)$/.test(name),
    );
    expect([method.name, free && takesSecrets]).toEqual([method.name, false]);
    if (!free) expect([method.name, status]).toEqual([method.name, 405]);
    else expect([method.name, status === 405]).toEqual([method.name, false]);
  }
});
