// How strong a new password is, while it is typed. What is typed stays in the browser.

/**
 * What this page uses of zxcvbn-ts.
 * @typedef {{ check(password: string, userInputs: string[]): { score: number } }} Judge
 * @typedef {{ core: { ZxcvbnFactory: new (options: object) => Judge }, "language-common": { dictionary: object, adjacencyGraphs: object } }} Zxcvbn
 */

/** Longer ones are strong, and take long to judge. */
const longestJudged = 80;

/** Loads a script of this service. */
function load(/** @type {string} */ src) {
  return new Promise((resolve, reject) => {
    const script = document.createElement("script");
    Object.assign(script, { src, onload: resolve, onerror: reject });
    document.head.append(script);
  });
}

/** The library and its dictionaries are large: they are loaded once somebody is about to type a password. */
async function loadJudge(/** @type {string[]} */ scripts) {
  await Promise.all(scripts.map(load));
  const { zxcvbnts } = /** @type {{ zxcvbnts: Zxcvbn }} */ (/** @type {unknown} */ (window));
  const { dictionary, adjacencyGraphs: graphs } = zxcvbnts["language-common"];
  return new zxcvbnts.core.ZxcvbnFactory({ dictionary, graphs });
}

function showStrength(/** @type {HTMLElement} */ box) {
  const form = box.closest("form");
  const input = /** @type {HTMLInputElement | null} */ (
    form?.querySelector("input[autocomplete=new-password]") ?? null
  );
  const [meter, text] = [box.querySelector("meter"), box.querySelector(".word")];
  if (form === null || input === null || meter === null || text === null) return;
  const words = (box.dataset.words ?? "").split("|");
  /** @type {Judge | null} */
  let judge = null;
  const show = () => {
    box.hidden = judge === null || input.value === "";
    if (judge === null || box.hidden) return;
    const own = [...form.querySelectorAll("input")].filter(({ type }) => type === "email" || type === "text");
    // an address and its parts
    const inputs = own.flatMap(({ value }) => [value, ...value.split(/[^\p{L}\p{N}]+/u)]).filter((part) => part !== "");
    const isShort = input.value.length < input.minLength;
    const { score } = isShort ? { score: 0 } : judge.check(input.value.slice(0, longestJudged), inputs);
    meter.value = score + 1;
    const word = words[score] ?? "";
    if (text.textContent !== word) text.textContent = word;
  };
  const begin = async () => {
    judge = await loadJudge((box.dataset.scripts ?? "").split(" "));
    show();
  };
  input.addEventListener("focus", begin, { once: true });
  input.addEventListener("input", show);
  if (document.activeElement === input) input.dispatchEvent(new Event("focus"));
}

for (const box of document.querySelectorAll(".strength")) showStrength(/** @type {HTMLElement} */ (box));
