/** The package brings no types; this is what `serving-lock.ts` and a bench use. */
declare module "better-sqlite3" {
  export default class Sqlite {
    constructor(file: string, options: { readonly timeout: number });
    exec(sql: string): this;
    pragma(text: string): unknown;
    prepare(sql: string): { get(...values: readonly unknown[]): unknown; run(...values: readonly unknown[]): unknown };
    close(): this;
  }
}
