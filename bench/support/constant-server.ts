import { fastify } from "fastify";

/** The baseline of HTTP introspection: a bare Fastify route that parses the form and sends one string, as the service sends a kept answer. */
const [, , port = "0", answer = "{}"] = process.argv;
const app = fastify();
app.addContentTypeParser("application/x-www-form-urlencoded", { parseAs: "string" }, (_request, body, done) =>
  done(null, Object.fromEntries(new URLSearchParams(body as string))),
);
app.post("/oauth2/introspect", async (_request, reply) => {
  reply.type("application/json; charset=utf-8");
  return answer;
});
await app.listen({ host: "127.0.0.1", port: Number(port) });
process.stdout.write("up\n");
