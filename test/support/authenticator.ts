import { createHash, createPrivateKey, generateKeyPairSync, type KeyObject, randomBytes, sign } from "node:crypto";

/** What an authenticator or its browser may do wrong. */
export interface Lies {
  readonly origin?: string;
  readonly rpId?: string;
  readonly challenge?: string;
  readonly userVerified?: boolean;
  readonly type?: string;
  readonly userHandle?: string | null;
}

interface Credential {
  readonly id: Buffer;
  readonly userHandle: string;
  readonly privateKey: KeyObject;
  counter: number;
}

interface CreationOptions {
  readonly challenge: string;
  readonly rp: { readonly id: string };
  readonly user: { readonly id: string };
}

interface RequestOptions {
  readonly challenge: string;
  readonly rpId: string;
  readonly allowCredentials?: readonly { readonly id: string }[];
}

/** An authenticator with ES256 keys and the browser in front of it, in software. It answers with the JSON that pages send. */
export class Authenticator {
  readonly credentials: Credential[] = [];
  readonly #origin: string;
  /** 0: it does not count. */
  readonly #step: number;

  constructor(origin: string, options: { readonly counts?: boolean } = {}) {
    this.#origin = origin;
    this.#step = options.counts === true ? 1 : 0;
  }

  create(options: CreationOptions, lies: Lies = {}): string {
    const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
    const jwk = publicKey.export({ format: "jwk" });
    const credential = { id: randomBytes(32), userHandle: options.user.id, privateKey, counter: this.#step };
    this.credentials.push(credential);
    const key = cbor(
      new Map<number, unknown>([
        [1, 2],
        [3, -7],
        [-1, 1],
        [-2, Buffer.from(jwk.x ?? "", "base64url")],
        [-3, Buffer.from(jwk.y ?? "", "base64url")],
      ]),
    );
    const length = Buffer.alloc(2);
    length.writeUInt16BE(credential.id.length);
    const attested = Buffer.concat([Buffer.alloc(16), length, credential.id, key]);
    const authData = Buffer.concat([this.#authData(lies.rpId ?? options.rp.id, credential, lies, 0x40), attested]);
    const attestation = new Map<string, unknown>([
      ["fmt", "none"],
      ["attStmt", new Map()],
      ["authData", authData],
    ]);
    return this.#answer(credential, {
      clientDataJSON: this.#clientData("webauthn.create", options.challenge, lies),
      attestationObject: cbor(attestation).toString("base64url"),
      transports: ["internal"],
    });
  }

  get(options: RequestOptions, lies: Lies = {}): string {
    const allowed = options.allowCredentials?.map(({ id }) => id);
    const credential = this.credentials.findLast(
      ({ id }) => allowed === undefined || allowed.includes(id.toString("base64url")),
    );
    if (credential === undefined) throw new Error("no passkey for this");
    credential.counter += this.#step;
    const authData = this.#authData(lies.rpId ?? options.rpId, credential, lies, 0);
    const clientDataJSON = this.#clientData("webauthn.get", options.challenge, lies);
    const hash = createHash("sha256").update(Buffer.from(clientDataJSON, "base64url")).digest();
    const userHandle = lies.userHandle === undefined ? credential.userHandle : lies.userHandle;
    return this.#answer(credential, {
      clientDataJSON,
      authenticatorData: authData.toString("base64url"),
      signature: sign("sha256", Buffer.concat([authData, hash]), credential.privateKey).toString("base64url"),
      ...(userHandle === null ? {} : { userHandle }),
    });
  }

  /** The same keys in another device, as a thief would have them. */
  copy(): Authenticator {
    const copy = new Authenticator(this.#origin, { counts: this.#step > 0 });
    for (const { privateKey, ...rest } of this.credentials) {
      copy.credentials.push({
        ...rest,
        privateKey: createPrivateKey(privateKey.export({ format: "pem", type: "pkcs8" })),
      });
    }
    return copy;
  }

  #authData(rpId: string, { counter }: Credential, { userVerified = true }: Lies, flags: number): Buffer {
    const head = Buffer.alloc(5);
    head[0] = 0x01 | (userVerified ? 0x04 : 0) | flags;
    head.writeUInt32BE(counter, 1);
    return Buffer.concat([createHash("sha256").update(rpId).digest(), head]);
  }

  #clientData(type: string, challenge: string, lies: Lies): string {
    const data = {
      type: lies.type ?? type,
      challenge: lies.challenge ?? challenge,
      origin: lies.origin ?? this.#origin,
      crossOrigin: false,
    };
    return Buffer.from(JSON.stringify(data)).toString("base64url");
  }

  #answer({ id }: Credential, response: object): string {
    const rawId = id.toString("base64url");
    return JSON.stringify({
      id: rawId,
      rawId,
      type: "public-key",
      response,
      clientExtensionResults: {},
      authenticatorAttachment: "platform",
    });
  }
}

/** CBOR (RFC 8949) of what authenticators send: integers, texts, bytes, maps. */
function cbor(value: unknown): Buffer {
  if (typeof value === "number") return value >= 0 ? head(0, value) : head(1, -1 - value);
  if (typeof value === "string") return Buffer.concat([head(3, Buffer.byteLength(value)), Buffer.from(value)]);
  if (Buffer.isBuffer(value)) return Buffer.concat([head(2, value.length), value]);
  if (value instanceof Map) {
    return Buffer.concat([head(5, value.size), ...[...value].flatMap(([key, each]) => [cbor(key), cbor(each)])]);
  }
  throw new Error("no CBOR for this");
}

function head(type: number, argument: number): Buffer {
  if (argument < 24) return Buffer.from([(type << 5) | argument]);
  if (argument < 256) return Buffer.from([(type << 5) | 24, argument]);
  const bytes = Buffer.from([(type << 5) | 25, 0, 0]);
  bytes.writeUInt16BE(argument, 1);
  return bytes;
}
