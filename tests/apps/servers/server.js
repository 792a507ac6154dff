// Listens as node does without an address: on ::, for both. GET /inside asks a server of its own.
const http = require("http");
const dns = require("dns");

const get = (host, port) => new Promise((found) => {
  http.get({ host, port, path: "/" }, (reply) => {
    reply.resume();
    found(`${host} ${reply.statusCode}`);
  }).on("error", (error) => found(`${host} ${error.code}`));
});

async function inside() {
  const own = http.createServer((_, reply) => reply.end("own\n"));
  await new Promise((ready) => own.listen(0, "127.0.0.1", ready));
  const everywhere = http.createServer((_, reply) => reply.end("own\n"));
  await new Promise((ready) => everywhere.listen(0, ready));
  const lines = [
    "own " + await get("localhost", own.address().port),
    "everywhere " + await get("localhost", everywhere.address().port),
    await get("localhost", process.env.PORT),
    await get("127.0.0.1", process.env.PORT),
    await get("::1", process.env.PORT),
    await new Promise((found) => dns.lookup("deb.debian.org", (error) => found(`dns ${error?.code ?? "found"}`))),
  ];
  own.close();
  everywhere.close();
  return lines.join("\n") + "\n";
}

http.createServer(async (request, reply) => {
  reply.end(request.url === "/inside" ? await inside() : "hello from node\n");
}).listen(process.env.PORT);
