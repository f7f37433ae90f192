/** Whose store it is. */
export interface Owner {
  /** The issuer's URL. */
  readonly url: string;
  /** The domain that its passkeys are for; null: nobody has said so yet, or it has none. */
  readonly rpId: string | null;
}

export interface IssuerStore {
  /** @returns null: nobody has said so yet */
  find(): Promise<Owner | null>;
  /**
   * @param from the URL that it must be now
   * @returns false: it is another one by now
   */
  replace(from: string | null, to: string, now: number): Promise<boolean>;
  /**
   * Says for which domain passkeys are.
   * @param from what it must be now
   * @returns false: it is another one by now
   */
  replaceRpId(from: string | null, to: string | null): Promise<boolean>;
}
