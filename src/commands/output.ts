/** Where a command writes its answer: a table for people, one JSON document with `--json`. */
export interface Output {
  readonly json: boolean;
  /** @param value printed as JSON; @param human the same for people */
  print(value: unknown, human: () => string): void;
}

export function outputTo(stream: { write(text: string): unknown }, json: boolean): Output {
  return {
    json,
    print: (value, human) => void stream.write(`${json ? JSON.stringify(value, null, 2) : human()}\n`),
  };
}

/** Columns as wide as their longest cell; lines have no trailing spaces. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const all = [head, ...rows];
  const widths = head.map((_, column) => Math.max(...all.map((row) => row[column]?.length ?? 0)));
  return all
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}

/** One `name  value` a line; empty values are left out. */
export function fields(pairs: readonly (readonly [string, string])[]): string {
  const shown = pairs.filter(([, value]) => value !== "");
  const width = Math.max(...shown.map(([name]) => name.length));
  return shown.map(([name, value]) => `${name.padEnd(width)}  ${value}`).join("\n");
}

export function timeOf(ms: number | null): string {
  return ms === null ? "" : new Date(ms).toISOString();
}
