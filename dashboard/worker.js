// One event stream for all tabs of a browser: HTTP/1.1 has six connections a host, and tabs need them for more.
import { EventStream } from "./events.js";

/** @type {Set<MessagePort>} */
const ports = new Set();
const stream = new EventStream((note) => {
  for (const port of ports) port.postMessage(note);
});
void stream.run();

/** @type {any} */ (self).onconnect = (/** @type {MessageEvent} */ connection) => {
  const [port] = connection.ports;
  ports.add(port);
  port.onmessage = () => ports.delete(port);
  port.postMessage(stream.state);
  if (stream.last !== null) port.postMessage({ type: "hello", head: stream.last });
};
