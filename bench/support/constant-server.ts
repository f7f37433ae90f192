import { fastify } from "fastify";

/** The baseline of HTTP introspection: a bare Fastify route that parses the form and answers a constant. */
const [, , port = "0", answer = "{}"] = process.argv;
const constant = JSON.parse(answer) as object;
const app = fastify();
app.addContentTypeParser("application/x-www-form-urlencoded", { parseAs: "string" }, (_request, body, done) =>
  done(null, Object.fromEntries(new URLSearchParams(body as string))),
);
app.post("/oauth2/introspect", async () => constant);
await app.listen({ host: "127.0.0.1", port: Number(port) });
process.stdout.write("up\n");
