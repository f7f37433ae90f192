// Runs before any import: argon2 and better-sqlite3 crash without a message under an older Node.
const [major, minor] = process.versions.node.split(".").map(Number);
if (major < 24 || (major === 24 && minor < 18)) {
  console.error(
    `This project runs on Node 24.18 or newer; this is ${process.version} (${process.execPath}).\n` +
      "Node 24 comes with `npm install` (package `node`). If this message appears under `npm run`, its install script was skipped:\n" +
      "run `npm rebuild node`, then try again. Outside npm, put node_modules/.bin first in PATH.",
  );
  process.exit(1);
}
