import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "@jest/globals";

const root = join(import.meta.dirname, "../..");
const programs = join(root, "test/clients/programs");
const sources = readdirSync(programs, { recursive: true, encoding: "utf8" })
  .filter((file) => /\.(js|py|go|java|properties|xml|cfg|conf|json|yaml)$/.test(file))
  .map((file) => readFileSync(join(programs, file), "utf8"));

it.each([
  { name: "sign-in-from-a-web-app", atLeast: 5 },
  ...readdirSync(join(root, "docs/how-to/software"))
    .filter((file) => file !== "README.md")
    .map((file) => ({ name: `software/${file.replace(/\.md$/, "")}`, atLeast: 1 })),
  // the other proxies of that page are not programs of test/clients
  { name: "forward-auth", languages: "haproxy", atLeast: 1 },
])(
  "how-to/$name shows code and settings of the programs that npm run test:clients runs, word for word",
  ({ name, languages = "(?!sh\\n|text\\n)\\w+", atLeast }) => {
    const page = readFileSync(join(root, `docs/how-to/${name}.md`), "utf8");
    const fence = new RegExp(`^\`\`\`${languages}\\n([\\s\\S]*?)\\n\`\`\`$`, "gm");
    const blocks = [...page.matchAll(fence)].map(([, code = ""]) => code);
    expect(blocks.length).toBeGreaterThanOrEqual(atLeast);
    for (const block of blocks) expect(sources.some((source) => source.includes(block)) ? "" : block).toBe("");
  },
);
