// Node's HTTP server on connections in memory: which requests it finds in streams of bytes. Reads
// `length\n` and that many bytes for each stream from stdin; writes one line of JSON for each.
import http from "node:http";
import { Duplex } from "node:stream";

function read(bytes) {
  return new Promise((resolve) => {
    const seen = [];
    let ended = false;
    const server = http.createServer({ keepAliveTimeout: 0 }, (request, response) => {
      // It stops reading there, even where nobody takes the upgrade up, and within a chunked body.
      if ("upgrade" in request.headers && /upgrade/i.test(request.headers.connection)) {
        ended = true;
        return;
      }
      const parts = [];
      request.on("data", (part) => parts.push(part));
      request.on("error", () => {});
      request.on("end", () => {
        const body = Buffer.concat(parts).toString("latin1");
        seen.push([request.method, request.url, request.headers.host ?? null, body]);
        response.on("error", () => {});
        response.end();
      });
    });
    server.on("checkContinue", (request, response) => server.emit("request", request, response));
    server.on("checkExpectation", (request, response) => server.emit("request", request, response));
    server.on("clientError", (_, socket) => {
      ended = true;
      socket.destroy();
    });
    const socket = new Duplex({
      read() {},
      write(_part, _encoding, done) { done(); },
      final(done) { done(); },
    });
    socket.setTimeout = socket.setNoDelay = socket.setKeepAlive = () => socket;
    socket.on("error", () => {});
    server.emit("connection", socket);
    socket.push(bytes);
    // All that follows from the bytes follows in a few turns of the loop.
    let turns = 0;
    let known = -1;
    const settle = () => {
      turns = seen.length === known ? turns + 1 : 0;
      known = seen.length;
      if (turns < 4) return setImmediate(settle);
      socket.destroy();
      resolve({ seen, ended });
    };
    setImmediate(settle);
  });
}

let pending = Buffer.alloc(0);
for await (const part of process.stdin) {
  pending = Buffer.concat([pending, part]);
  for (;;) {
    const end = pending.indexOf(10);
    if (end < 0) break;
    const length = Number(pending.subarray(0, end).toString());
    if (pending.length < end + 1 + length) break;
    const bytes = pending.subarray(end + 1, end + 1 + length);
    pending = pending.subarray(end + 1 + length);
    process.stdout.write(JSON.stringify(await read(bytes)) + "\n");
  }
}
