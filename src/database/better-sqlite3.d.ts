/** The package brings no types; this is what `serving-lock.ts` uses. */
declare module "better-sqlite3" {
  export default class Sqlite {
    constructor(file: string, options: { readonly timeout: number });
    exec(sql: string): this;
    close(): this;
  }
}
