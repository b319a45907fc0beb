"""Notes by HTTP: `PUT /notes/NUMBER` keeps one, `GET /notes/NUMBER` gives it back, `GET /notes` has all numbers.

What is answered with 200 is on the disk: SQLite writes its log there before a commit returns (`synchronous=FULL`).
"""

import signal
import sqlite3
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

FILE = "/var/lib/notes/notes.db"
MOST_BYTES = 1 << 20


class Notes:
    """The database: one connection, one request at a time."""

    def __init__(self):
        self.lock = threading.Lock()
        self.database = sqlite3.connect(FILE, check_same_thread=False, isolation_level=None)
        self.database.execute("pragma journal_mode=wal")
        self.database.execute("pragma synchronous=full")
        self.database.execute("create table if not exists notes (number integer primary key, text text not null)")

    def keep(self, number, text):
        with self.lock:
            self.database.execute("insert or replace into notes values (?, ?)", (number, text))

    def text(self, number):
        with self.lock:
            row = self.database.execute("select text from notes where number = ?", (number,)).fetchone()
        return row and row[0]

    def numbers(self):
        with self.lock:
            return [row[0] for row in self.database.execute("select number from notes order by number")]

    def close(self):
        """Ends after what is under way; the last connection takes the log into the database."""
        with self.lock:
            self.database.close()


class Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60

    def do_GET(self):
        if self.path == "/health":
            return self.answer(200, "well\n")
        if self.path == "/notes":
            return self.answer(200, "".join(f"{number}\n" for number in notes.numbers()))
        text = None if self.number() is None else notes.text(self.number())
        return self.answer(404, "no such note\n") if text is None else self.answer(200, text)

    def do_PUT(self):
        length = self.headers.get("content-length", "")
        # Whatever is not read to its end is no request's beginning.
        self.close_connection = True
        if not (length.isascii() and length.isdigit()) or "transfer-encoding" in self.headers:
            return self.answer(411, "how long is it?\n")
        if self.number() is None or int(length) > MOST_BYTES:
            return self.answer(400, "PUT /notes/NUMBER, with at most 1 MiB\n")
        body = self.rfile.read(int(length))
        if len(body) != int(length):
            return None  # whoever sent it is gone: half of a note is none
        self.close_connection = self.headers.get("connection", "").lower() == "close"
        notes.keep(self.number(), body.decode(errors="replace"))
        return self.answer(200, "kept\n")

    def number(self):
        _, _, number = self.path.partition("/notes/")
        return int(number) if number.isascii() and number.isdigit() and int(number) < 1 << 63 else None

    def answer(self, status, text):
        body = text.encode()
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_request(self, code="-", size="-"):
        pass


class Server(ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True


notes = Notes()
server = Server(("0.0.0.0", 8080), Answers)
signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
server.serve_forever(poll_interval=0.05)
notes.close()
