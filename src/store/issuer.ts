export interface IssuerStore {
  /** The issuer that the store is of; null: nobody has said so yet. */
  find(): Promise<string | null>;
  /**
   * @param from what it must be now
   * @returns false: it is another one by now
   */
  replace(from: string | null, to: string, now: number): Promise<boolean>;
}
