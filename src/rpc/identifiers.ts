import { AuthError } from "../errors.ts";

const uuidForm = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

/**
 * An id that a message names.
 * @param field its name in the message
 * @returns the UUID in lower case (RFC 9562 section 4)
 * @throws AuthError invalid_request: empty or no UUID. What is one and names nothing is `not_found`, which the domain says
 */
export function readUuid(field: string, value: string): string {
  if (!uuidForm.test(value)) throw new AuthError("invalid_request", `${field} must be a UUID`);
  return value.toLowerCase();
}

/**
 * An id that is no UUID: of a client, a passkey or a key. @param field its name in the message
 * @throws AuthError invalid_request: empty, as where the caller left it out
 */
export function readId(field: string, value: string): string {
  if (value === "") throw new AuthError("invalid_request", `${field} is missing`);
  return value;
}
