// Answers every request with one line.
const http = require("http");
const server = http.createServer((request, response) => response.end("web\n"));
process.on("SIGTERM", () => server.close(() => process.exit(0)));
server.listen(8080, "0.0.0.0");
