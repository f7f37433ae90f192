/** What a browser calls itself; the first that is found, as most claim to be others too. */
const browsers: readonly (readonly [mark: RegExp, name: string])[] = [
  [/\bEdg(e|A|iOS)?\//, "Edge"],
  [/\bOPR\//, "Opera"],
  [/\bSamsungBrowser\//, "Samsung Internet"],
  [/\bWhale\//, "Whale"],
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
const maxShown = 80;

/** The words of a language in which browsers are named. */
export interface BrowserWords {
  readonly browserOn: (browser: string, system: string) => string;
  /** Of one that says nothing of itself. */
  readonly unknownBrowser: string;
}

/** A browser in a few words, to be recognised by its user; one that is not known, by the beginning of its user agent. */
export function nameBrowser(t: BrowserWords, userAgent: string): string {
  const [, browser] = browsers.find(([mark]) => mark.test(userAgent)) ?? [];
  const [, system] = systems.find(([mark]) => mark.test(userAgent)) ?? [];
  if (browser !== undefined && system !== undefined) return t.browserOn(browser, system);
  const shown = userAgent.trim();
  if (shown === "") return t.unknownBrowser;
  return shown.length > maxShown ? `${shown.slice(0, maxShown)}…` : shown;
}
