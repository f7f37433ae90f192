import type { Server, ServerResponse } from "node:http";

/** Headers of which Node keeps the first and drops the rest. A proxy in front of this service may have used another one. */
const single = new Set(["host", "authorization", "content-type"]);

/** @param rawHeaders names and values in turn @returns the name of a duplicate header that must be single, or null */
export function duplicateHeader(rawHeaders: readonly string[]): string | null {
  let seen = "";
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i] ?? "";
    // the length rules out most names
    if (name.length !== 4 && name.length !== 12 && name.length !== 13) continue;
    const lower = name.toLowerCase();
    if (!single.has(lower)) continue;
    if (seen.includes(lower)) return lower;
    seen += `${lower} `;
  }
  return null;
}

/**
 * Answers an Expect other than 100-continue with 400 and closes the connection. Node would answer 417 and go on reading (RFC 9110
 * section 10.1.1).
 */
export function refuseExpectations(server: Server): void {
  server.on("checkExpectation", (_request, response: ServerResponse) => {
    response
      .writeHead(400, { connection: "close", "content-type": "application/json", "x-content-type-options": "nosniff" })
      .end('{"error":"invalid_request","error_description":"the expectation is unknown"}');
  });
}
