/** Names of the secrets that stand somewhere in `bytes`: one pass, however many they are. Each has 4 bytes or more. */
export function secretsIn(bytes: Buffer, secrets: ReadonlyMap<string, string>): string[] {
  const byTail = new Map<number, [name: string, value: Buffer][]>();
  for (const [name, text] of secrets) {
    const value = Buffer.from(text);
    const tail = value.readUInt32BE(value.length - 4);
    byTail.set(tail, [...(byTail.get(tail) ?? []), [name, value]]);
  }
  const found = new Set<string>();
  for (let end = 4; end <= bytes.length; end++) {
    for (const [name, value] of byTail.get(bytes.readUInt32BE(end - 4)) ?? []) {
      if (end >= value.length && bytes.subarray(end - value.length, end).equals(value)) found.add(name);
    }
  }
  return [...found];
}
