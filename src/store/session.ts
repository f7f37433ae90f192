/** A browser's session, known by the SHA-256 of its cookie. */
export interface Session {
  readonly idHash: string;
  /** Null before sign-in: made only beside replicas of the previous release. */
  readonly userId: string | null;
  /** When the password was given, epoch milliseconds. */
  readonly authTime: number | null;
  /** How, as `amr` values (RFC 8176 section 2); empty before sign-in. */
  readonly methods: readonly string[];
  readonly ipAddress: string;
  readonly userAgent: string;
  readonly createdAt: number;
  readonly lastSeenAt: number;
  readonly expiresAt: number;
}

/** The session in which a user changes something of their own. The change holds it, and is not made where it has ended meanwhile. */
export interface ActingSession {
  readonly idHash: string;
  /** Takes its place with the change, which proved more of the user; absent: it stays. */
  readonly raisedTo?: Session;
}
