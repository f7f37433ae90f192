import type { Redemption } from "./authorizations.ts";

/** A device's pending request (RFC 8628), known by the SHA-256 of what the device and its user hold. */
export interface DeviceCode {
  readonly deviceCodeHash: string;
  readonly userCodeHash: string;
  readonly clientId: string;
  readonly scope: string;
  /** Resources that its tokens may be for (RFC 8707), space-separated; null: the client itself. */
  readonly resource: string | null;
  /** Thumbprint of the DPoP key that may redeem it. */
  readonly dpopJkt: string | null;
  /** Of the device, when it asked. */
  readonly ipAddress: string;
  readonly userAgent: string;
  readonly createdAt: number;
  readonly expiresAt: number;
  /** Null until somebody typed the code in. */
  readonly userId: string | null;
  /** The session that opened the code, and alone may decide. */
  readonly sessionHash: string | null;
  readonly authTime: number | null;
  /** How its user signed in (`amr`); empty before. */
  readonly methods: readonly string[];
  readonly allowedAt: number | null;
  readonly deniedAt: number | null;
  readonly redeemedAt: number | null;
  readonly revokedAt: number | null;
  /** The epoch that its client had; null: written by a release that did not keep it. */
  readonly clientEpoch: number | null;
}

export type NewDeviceCode = Omit<
  DeviceCode,
  "userId" | "sessionHash" | "authTime" | "methods" | "allowedAt" | "deniedAt" | "redeemedAt" | "revokedAt"
>;

export interface DeviceCodeStore {
  /** `user_code_taken`: another request has that user code. */
  save(code: NewDeviceCode, intervalMs: number): Promise<"saved" | "user_code_taken">;
  find(deviceCodeHash: string): Promise<DeviceCode | null>;
  /** Counts a poll. `too_fast`: it came before the interval was over, which grows by `stepMs`. Of N at once one is in time. */
  poll(deviceCodeHash: string, stepMs: number, now: number): Promise<"in_time" | "too_fast">;
  /**
   * Binds a pending code to the session whose user typed it in; again for the same session changes nothing.
   * @returns the code; `opened_elsewhere`; `session_ended`; null: unknown, decided, revoked or expired
   */
  open(
    userCodeHash: string,
    session: { idHash: string; userId: string; authTime: number; methods: readonly string[] },
    now: number,
  ): Promise<DeviceCode | "opened_elsewhere" | "session_ended" | null>;
  /** What this user decided about a code that was not revoked since; null: nothing. */
  findDecision(userCodeHash: string, userId: string): Promise<"allowed" | "denied" | null>;
  /** The decision of the session that opened the code, once. */
  decide(
    userCodeHash: string,
    sessionHash: string,
    allowed: boolean,
    now: number,
  ): Promise<"decided" | "opened_elsewhere" | "session_ended" | "over">;
  /** As `redeemCode`: one of N callers gets `redeemed`, and who repeats its `attemptId`. */
  redeem(deviceCodeHash: string, redemption: Redemption, now: number): Promise<"redeemed" | "replayed" | "refused">;
}
