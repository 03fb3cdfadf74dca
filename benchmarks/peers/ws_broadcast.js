// Every message goes to everybody with ws on Node.js: the loop of its README, with bufferutil.
"use strict";
const path = require("node:path");
const { parseArgs } = require("node:util");
const { WebSocket, WebSocketServer } = require(
  path.join(__dirname, "..", ".peers", "node_modules", "ws"),
);

const { values } = parseArgs({ options: { port: { type: "string" } } });
const server = new WebSocketServer({
  host: "127.0.0.1",
  port: Number(values.port),
  backlog: 4096,
  perMessageDeflate: false,
});

server.on("connection", (connection) => {
  connection.on("message", (message, isBinary) => {
    server.clients.forEach((client) => {
      if (client.readyState === WebSocket.OPEN) client.send(message, { binary: isBinary });
    });
  });
});
