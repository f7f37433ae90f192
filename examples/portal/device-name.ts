/** Marks in a user agent; the first that is found counts, because most browsers claim to be others too. */
const browsers: readonly (readonly [mark: RegExp, name: string])[] = [
  [/\bEdg(e|A|iOS)?\//, "Edge"],
  [/\bOPR\//, "Opera"],
  [/\bSamsungBrowser\//, "Samsung Internet"],
  [/\b(Firefox|FxiOS)\//, "Firefox"],
  [/(Chrome|CriOS)\//, "Chrome"],
  [/\bVersion\/.*\bSafari\//, "Safari"],
];
const systems: readonly (readonly [mark: RegExp, name: string])[] = [
  [/\bWindows\b/, "Windows"],
  [/\bAndroid\b/, "Android"],
  [/\b(iPhone|iPad|iPod)\b/, "iOS"],
  [/\bMacintosh\b/, "macOS"],
  [/\bCrOS\b/, "ChromeOS"],
  [/\bLinux\b/, "Linux"],
];

/** A browser as its owner would call it. @param userAgent what it calls itself */
export function nameDevice(userAgent: string): string {
  const [, browser = "A browser"] = browsers.find(([mark]) => mark.test(userAgent)) ?? [];
  const [, system] = systems.find(([mark]) => mark.test(userAgent)) ?? [];
  return system === undefined ? browser : `${browser} on ${system}`;
}
