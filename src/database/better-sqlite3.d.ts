/** The package brings no types; this is what `serving-lock.ts`, `sqlite-connection.ts` and a bench use. */
declare module "better-sqlite3" {
  export interface Statement {
    /** Does it return rows? */
    readonly reader: boolean;
    all(...values: readonly unknown[]): unknown[];
    get(...values: readonly unknown[]): unknown;
    run(...values: readonly unknown[]): { readonly changes: number };
  }

  export default class Sqlite {
    constructor(file: string, options: { readonly timeout: number });
    exec(sql: string): this;
    pragma(text: string): unknown;
    prepare(sql: string): Statement;
    close(): this;
  }
}
