//! The real engine in a process of its own; skipped loudly where Python has no chdb.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A ClickHouse that ends with the test.
pub(crate) struct Place {
    child: Child,
    pub(crate) port: u16,
}

/// The Python that has chdb. `AFTR_CHDB_PYTHON` names it, and makes the test obligatory.
pub(crate) fn python(module: &str) -> Option<String> {
    let named = std::env::var("AFTR_CHDB_PYTHON").ok();
    let python = named.clone().unwrap_or_else(|| "python3".to_owned());
    let code = format!("import {module}");
    let has_it =
        Command::new(&python).args(["-c", &code]).output().is_ok_and(|output| output.status.success());
    if has_it {
        return Some(python);
    }
    assert!(named.is_none(), "AFTR_CHDB_PYTHON={python} has no module {module}");
    eprintln!(
        "SKIPPED: {python} has no module {module}; `pip install chdb duckdb` brings it (docs/fleet.md)"
    );
    None
}

impl Place {
    pub(crate) fn open(python: &str, directory: &Path, password: &str) -> Place {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fleet/clickhouse.py");
        let mut child = Command::new(python)
            .args([script, directory.to_str().unwrap(), password])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Place { child, port: line.trim().parse().expect("the port") }
    }

    pub(crate) fn url(&self) -> String {
        format!("clickhouse://127.0.0.1:{}/fleet", self.port)
    }

    /// What a statement gives, as an operator would send it with curl.
    pub(crate) fn sql(&self, sql: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let length = sql.len();
        write!(stream, "POST /?database=fleet HTTP/1.0\r\nContent-Length: {length}\r\n\r\n{sql}").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.0 200"), "{sql}: {body}");
        body.trim().to_owned()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
