import type { Server, ServerResponse } from "node:http";

/** Headers of which Node keeps the first and drops the rest: what stands before this service may have kept another. */
const single = new Set(["host", "authorization", "content-type"]);

/** @returns the name of a header that stands twice and must not, or null */
export function twinHeader(rawHeaders: readonly string[]): string | null {
  let seen = "";
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i] ?? "";
    // most names are told apart by their length
    if (name.length !== 4 && name.length !== 12 && name.length !== 13) continue;
    const lower = name.toLowerCase();
    if (!single.has(lower)) continue;
    if (seen.includes(lower)) return lower;
    seen += `${lower} `;
  }
  return null;
}

/** Refuses an Expect that is not 100-continue with 400 and hangs up: Node would answer 417 and read on (RFC 9110 section 10.1.1). */
export function refuseExpectations(server: Server): void {
  server.on("checkExpectation", (_request, response: ServerResponse) => {
    response
      .writeHead(400, { connection: "close", "content-type": "application/json", "x-content-type-options": "nosniff" })
      .end('{"error":"invalid_request","error_description":"the expectation is unknown"}');
  });
}
