// Sends back each message of a WebSocket as it came; a plain request gets one line.
const http = require("http");
const { WebSocketServer } = require("ws");

const server = http.createServer((request, response) => response.end("a WebSocket is wanted\n"));
const sockets = new WebSocketServer({ server });
sockets.on("connection", (socket) => {
  socket.on("message", (data, isBinary) => socket.send(data, { binary: isBinary }));
});
server.listen(process.env.PORT);

process.on("SIGTERM", () => {
  for (const socket of sockets.clients) socket.close(1001);
  server.close(() => process.exit(0));
});
