"""ClickHouse's own engine (PyPI: chdb) behind its HTTP interface, as much of that as `aftr` uses.

    python3 clickhouse.py DIRECTORY [PASSWORD]     prints the port

What it does not have is a server's: the body of an INSERT goes through a file, so that input() becomes file().
"""
import os
import re
import sys
import tempfile
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import parse_qsl, urlsplit

from chdb import session

engine = session.Session(sys.argv[1])
password = sys.argv[2] if len(sys.argv) > 2 else ""
directory = tempfile.mkdtemp()


def run(url, body):
    given = dict(parse_qsl(urlsplit(url).query, keep_blank_values=True))
    parameters = {name[6:]: value for name, value in given.items() if name.startswith("param_")}
    settings = [name for name in given if name not in ("database", "query", "wait_end_of_query") and name[:6] != "param_"]
    sql = given.get("query", "")
    if sql.endswith("FORMAT Parquet"):
        path = os.path.join(directory, "body.parquet")
        with open(path, "wb") as file:
            file.write(body)
        sql = re.sub(r"input\('", f"file('{path}', 'Parquet', '", sql.removesuffix("FORMAT Parquet"))
    else:
        sql = (sql + "\n" + body.decode()).strip()
    if "database" in given:
        engine.query("USE {database:Identifier}", params={"database": given["database"]})
    for name in settings:
        engine.query(f"SET {name} = {int(given[name])}")
    try:
        return engine.query(sql, "TabSeparated", params=parameters).bytes() or b""
    finally:
        for name in settings:
            engine.query(f"SET {name} = DEFAULT")


class Request(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        code = None
        if self.headers.get("X-ClickHouse-Key", "") != password:
            status, code, answer = 403, 516, b"Code: 516. DB::Exception: Authentication failed. (AUTHENTICATION_FAILED)"
        else:
            try:
                status, answer = 200, run(self.path, body)
            except Exception as error:
                status, answer = 500, str(error).encode()
                found = re.match(r"Code: (\d+)", str(error))
                code = int(found[1]) if found else 1000
        try:
            self.send_response(status)
            if code is not None:
                self.send_header("X-ClickHouse-Exception-Code", str(code))
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)
        except OSError:
            pass  # Whoever asked is gone; what was done is done.

    def log_message(self, *_):
        pass


server = HTTPServer(("127.0.0.1", 0), Request)
print(server.server_port, flush=True)
server.serve_forever()
