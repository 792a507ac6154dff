// A page with the dyno's name, so that tests see which dyno answered.
const express = require("express");

const app = express();
app.get("/", (request, response) => {
  response.send(`hello from node on ${process.env.DYNO ?? "no dyno"}\n`);
});
app.get("/headers", (request, response) => response.json(request.headers));
app.post("/echo", (request, response) => request.pipe(response));

const server = app.listen(process.env.PORT);
process.on("SIGTERM", () => server.close(() => process.exit(0)));
