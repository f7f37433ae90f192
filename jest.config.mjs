/** Tests that need MariaDB, Kafka or Chromium; everything else runs on Node alone. */
const services = "\\.services\\.test\\.ts$";

/** Clients in Go, Java and Python, which take minutes to build: only `npm run test:clients`. */
const builds = "\\.builds\\.test\\.ts$";

const project = {
  testEnvironment: "node",
  rootDir: import.meta.dirname,
  extensionsToTreatAsEsm: [".ts"],
  transform: { "^.+\\.ts$": "<rootDir>/scripts/jest-strip-types.mjs" },
};

/** @type {import('jest').Config} */
export default {
  // of tests and hooks that need no longer: a machine where twenty other processes are busy is ten times slower
  testTimeout: 300_000,
  maxWorkers: 2,
  cacheDirectory: "node_modules/.cache/jest",
  projects: [
    {
      ...project,
      displayName: "unit",
      testMatch: ["<rootDir>/test/**/*.test.ts"],
      testPathIgnorePatterns: ["/node_modules/", services, builds],
    },
    { ...project, displayName: "services", testRegex: `/test/.*${services}` },
    { ...project, displayName: "clients", testMatch: ["<rootDir>/test/clients/**/*.test.ts"] },
  ],
};
