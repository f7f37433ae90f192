/** What attackers put between the parts of a URI, hoping that two readers part it differently. */
const insertions = [
  "/",
  "//",
  "\\",
  "@",
  "@evil.example",
  ".evil.example",
  "evil.example/",
  "%2e%2e/",
  "../",
  "..;/",
  "./",
  ";",
  ":443",
  ":8443",
  "\t",
  "%09",
  "\r\n",
  "%0d%0a",
  "%00",
  "%2f",
  "%5c",
  " ",
  "*",
  "#f",
  "#",
  "?",
  "?q=1",
  "&q=1",
  "extra",
  "\u200b",
  "\u3002",
];
const homographs: Readonly<Record<string, string>> = {
  a: "а",
  c: "с",
  e: "е",
  o: "о",
  p: "р",
  x: "х",
  g: "ｇ",
  d: "ԁ",
};

/**
 * Every URI that is nearly `uri`: each insertion at each border of its parts, each letter in the other case, percent-encoded or as its
 * homograph, each dot as any character, another scheme, another port, a part left out.
 */
export function nearly(uri: string): string[] {
  const [, scheme = "", authority = "", rest = ""] = /^([a-z.+-]+:)(\/\/[^/?]*)?(.*)$/.exec(uri) ?? [];
  const borders = [scheme.length, scheme.length + 2, scheme.length + authority.length];
  for (const [index, character] of [...uri].entries()) if ("/?.=".includes(character)) borders.push(index, index + 1);
  const inserted = [...new Set([...borders, 0, uri.length])].flatMap((at) =>
    insertions.map((text) => uri.slice(0, at) + text + uri.slice(at)),
  );
  const replaced = [...uri].flatMap((character, at) => {
    const others = [
      ...(/[a-z]/i.test(character) ? [swapCase(character), `%${character.charCodeAt(0).toString(16)}`] : []),
      ...(character === "." ? ["X", "%2e", "。"] : []),
      ...(homographs[character] === undefined ? [] : [homographs[character]]),
      "",
    ];
    return others.map((other) => uri.slice(0, at) + other + uri.slice(at + 1));
  });
  const schemes = ["http:", "https:", "javascript:", "data:", "ftp:", "HTTPS:", ""].map(
    (other) => other + authority + rest,
  );
  const hosts = ["//evil.example", "//goodXexample", "//[::1]", "//0.0.0.0", "//127.1", "//2130706433"].map(
    (other) => scheme + other + rest,
  );
  const bare = authority.replace(/:\d+$/, "");
  const ports = [":80", ":443", ":8443", ":3001", ":0", ":65536", ":-1", ":", ":3000@evil.example"].map(
    (port) => scheme + bare + port + rest,
  );
  return [...new Set([...inserted, ...replaced, ...schemes, ...hosts, ...ports])].filter((other) => other !== uri);
}

function swapCase(letter: string): string {
  return letter === letter.toLowerCase() ? letter.toUpperCase() : letter.toLowerCase();
}
