// Echo with ws on Node.js, with bufferutil, which its README recommends for speed.
"use strict";
const path = require("node:path");
const { parseArgs } = require("node:util");
const { WebSocketServer } = require(path.join(__dirname, "..", ".peers", "node_modules", "ws"));

const { values } = parseArgs({
  options: {
    port: { type: "string" },
    compression: { type: "boolean", default: false },
    "max-size": { type: "string", default: String(16 << 20) },
  },
});
const server = new WebSocketServer({
  host: "127.0.0.1",
  port: Number(values.port),
  backlog: 4096,
  maxPayload: Number(values["max-size"]),
  perMessageDeflate: values.compression,
});

server.on("connection", (connection) => {
  connection.on("message", (message, isBinary) => connection.send(message, { binary: isBinary }));
});
