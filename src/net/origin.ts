/** Origin of a URI; its scheme where it has none, as those of native applications. */
export function originOf(uri: string): string {
  const { origin, protocol } = new URL(uri);
  return origin === "null" ? protocol : origin;
}
