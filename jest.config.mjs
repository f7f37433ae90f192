/** Tests that need MariaDB, Kafka or Chromium; everything else runs on Node alone. */
const services = ["/test/.*\\.services\\.test\\.ts$"];

/** Builds in Go, Java and Python: only `npm run test:clients`. */
const built = ["/test/clients/(languages|web-apps|spring-resource-server)\\.services\\.test\\.ts$"];

/** Client libraries for JavaScript and the gateway: `npm test` and `npm run test:clients`. */
const libraries = [
  "/test/clients/((fapi-)?openid-client|oauth4webapi|oidc-client-ts\\.services|(portal-)?gateway(\\.services)?)\\.test\\.ts$",
];

const project = {
  testEnvironment: "node",
  rootDir: import.meta.dirname,
  extensionsToTreatAsEsm: [".ts"],
  transform: { "^.+\\.ts$": "<rootDir>/scripts/jest-strip-types.mjs" },
};

/** @type {import('jest').Config} */
export default {
  testTimeout: 30_000,
  maxWorkers: 2,
  projects: [
    {
      ...project,
      displayName: "unit",
      testMatch: ["<rootDir>/test/**/*.test.ts"],
      testPathIgnorePatterns: ["/node_modules/", ...services],
    },
    {
      ...project,
      displayName: "services",
      testRegex: services,
      testPathIgnorePatterns: ["/node_modules/", ...built],
    },
    { ...project, displayName: "clients", testRegex: [...built, ...libraries] },
  ],
};
