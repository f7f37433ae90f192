// Unpacks the Chromium of the package @sparticuz/chromium, its libraries and its fonts into TMPDIR, the only place it unpacks to.
// A process of its own, because os.tmpdir() inside Jest does not follow a test's environment.
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { inflate } from "@sparticuz/chromium";

const packed = fileURLToPath(new URL("../../bin", import.meta.resolve("@sparticuz/chromium")));
await Promise.all(["chromium.br", "fonts.tar.br", "al2023.tar.br"].map((name) => inflate(join(packed, name))));
