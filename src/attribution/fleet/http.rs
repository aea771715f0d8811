//! The only place that speaks HTTP: statements go to ClickHouse, values only ever as its query parameters.

use std::io;
use std::time::Duration;

use serde_json::Value;
use ureq::http::{Response, StatusCode};
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::{Agent, Body};

use super::address::Address;

/// Octets of an answer: a segment has 2 million intervals at most, and no answer has them all.
const LONGEST_ANSWER: u64 = 1 << 30;

/// Patience, in seconds.
const CONNECT: u64 = 10;
const ANSWER: u64 = 600;

/// Settings of an `INSERT`: one thread, so that rows are numbered as they stand in the file; and no row is left out because
/// the same came before, in a load that was removed.
const INSERT: [(&str, &str); 5] = [
    ("max_threads", "1"),
    ("max_insert_threads", "1"),
    ("input_format_parallel_parsing", "0"),
    ("input_format_parquet_preserve_order", "1"),
    ("insert_deduplicate", "0"),
];

/// A ClickHouse to talk to.
#[derive(Debug)]
pub struct Clickhouse {
    address: Address,
    agent: Agent,
}

/// A number of an answer in JSON: older servers write large ones as text.
pub(super) fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

/// A parameter: `{name:Type}` in the statement.
pub(super) type Parameter<'a> = (&'a str, &'a dyn std::fmt::Display);

impl Clickhouse {
    /// Nothing is sent yet. `authorities`: PEM, whom to believe instead of those that browsers do.
    ///
    /// # Errors
    /// `authorities` are no certificates.
    pub fn new(address: &Address, authorities: Option<&[u8]>) -> io::Result<Clickhouse> {
        Clickhouse::with_patience(address, authorities, Duration::from_secs(ANSWER))
    }

    /// As [`Clickhouse::new`], for a statement that has `patience` to answer.
    pub(super) fn with_patience(
        address: &Address,
        authorities: Option<&[u8]>,
        patience: Duration,
    ) -> io::Result<Clickhouse> {
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .proxy(None)
            .max_redirects(0)
            .timeout_connect(Some(Duration::from_secs(CONNECT)))
            .timeout_global(Some(patience));
        if let Some(pem) = authorities {
            let authority = Certificate::from_pem(pem).map_err(io::Error::other)?;
            let roots = RootCerts::new_with_certs(&[authority]);
            config = config.tls_config(TlsConfig::builder().root_certs(roots).build());
        }
        Ok(Clickhouse { address: address.clone(), agent: config.build().into() })
    }

    /// Where it is, without the password.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// What a statement gives, in the format that it names.
    pub(super) fn query(&self, sql: &str, parameters: &[Parameter<'_>]) -> io::Result<Vec<u8>> {
        self.send(Some(&self.address.database), None, parameters, sql.as_bytes())
    }

    /// As [`Clickhouse::query`], where there is no database yet.
    pub(super) fn query_without_database(
        &self,
        sql: &str,
        parameters: &[Parameter<'_>],
    ) -> io::Result<Vec<u8>> {
        self.send(None, None, parameters, sql.as_bytes())
    }

    /// Rows of a statement that ends with `FORMAT JSONCompactEachRow`.
    pub(super) fn rows(&self, sql: &str, parameters: &[Parameter<'_>]) -> io::Result<Vec<Value>> {
        let text = self.query(sql, parameters)?;
        let lines = text.split(|&octet| octet == b'\n').filter(|line| !line.is_empty());
        lines.map(|line| serde_json::from_slice(line).map_err(|error| self.strange(&error))).collect()
    }

    /// Gives data to an `INSERT`.
    pub(super) fn insert(&self, sql: &str, parameters: &[Parameter<'_>], data: &[u8]) -> io::Result<()> {
        self.send(Some(&self.address.database), Some(sql), parameters, data).map(drop)
    }

    /// What it said is not what it should say.
    pub(super) fn strange(&self, why: &dyn std::fmt::Display) -> io::Error {
        io::Error::other(format!("{} answers something else than was asked for: {why}", self.address))
    }

    fn send(
        &self,
        database: Option<&str>,
        sql: Option<&str>,
        parameters: &[Parameter<'_>],
        body: &[u8],
    ) -> io::Result<Vec<u8>> {
        let Address { is_secure, host, port, user, password, .. } = &self.address;
        let scheme = if *is_secure { "https" } else { "http" };
        let mut request = self
            .agent
            .post(format!("{scheme}://{host}:{port}/"))
            .header("X-ClickHouse-User", user)
            .header("X-ClickHouse-Key", password)
            // The status comes when everything is known: no answer that breaks off in the middle looks whole.
            .query("wait_end_of_query", "1");
        for (name, value) in [("database", database), ("query", sql)] {
            if let Some(value) = value {
                request = request.query(name, value);
            }
        }
        if sql.is_some() {
            request = request.query_pairs(INSERT);
        }
        for (name, value) in parameters {
            request = request.query(format!("param_{name}"), value.to_string());
        }
        let answer = request.send(body);
        self.answer(answer.map_err(|error| self.unreachable(&error))?)
    }

    fn answer(&self, mut response: Response<Body>) -> io::Result<Vec<u8>> {
        let body = response.body_mut().with_config().limit(LONGEST_ANSWER).read_to_vec();
        let body = body.map_err(|error| self.unreachable(&error))?;
        let code = response.headers().get("X-ClickHouse-Exception-Code");
        let code = code.and_then(|code| code.to_str().ok()?.parse::<u32>().ok());
        if response.status() == StatusCode::OK && code.is_none() {
            return Ok(body);
        }
        let text = String::from_utf8_lossy(&body);
        let said = text.lines().next().unwrap_or_default().chars().take(500).collect::<String>();
        let code = code.or_else(|| said.strip_prefix("Code: ")?.split('.').next()?.parse().ok());
        let status = response.status();
        let cure = match (code, status) {
            (Some(60 | 81), _) => "`aftr journal ship --create` makes the database and its tables",
            (Some(192 | 193 | 194 | 497 | 516), _)
            | (_, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
                "give user and password as clickhouse://user@host/ and --password-file FILE; the user needs SELECT, \
                 and to ship INSERT and ALTER DELETE"
            }
            (Some(_), _) => "the server's log says more",
            (None, _) => "is this ClickHouse's port for HTTP (8123, with TLS 8443)?",
        };
        Err(io::Error::other(format!("{} refuses ({status}): {said}\n  {cure}", self.address)))
    }

    fn unreachable(&self, error: &ureq::Error) -> io::Error {
        let why = format!(
            "{} does not answer: {error}\n  is it up, and is this its port for HTTP (8123, with TLS 8443)? What was \
             shipped before stays; the next try goes on behind it",
            self.address
        );
        let is_late = matches!(error, ureq::Error::Timeout(_));
        let kind = if is_late { io::ErrorKind::TimedOut } else { io::ErrorKind::NotConnected };
        io::Error::new(kind, why)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::thread::JoinHandle;

    use super::*;

    /// Gives one answer, and what it was asked.
    fn server(answer: &'static str) -> (Address, JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let served = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = Vec::new();
            while !asked.ends_with(b"SELECT 1") {
                let mut octets = [0; 4096];
                let read = stream.read(&mut octets).unwrap();
                asked.extend_from_slice(&octets[..read]);
            }
            stream.write_all(answer.as_bytes()).unwrap();
            String::from_utf8(asked).unwrap()
        });
        (format!("clickhouse://aftr:secret@127.0.0.1:{port}/cgn").parse().unwrap(), served)
    }

    fn told(answer: &'static str) -> String {
        let (address, served) = server(answer);
        let error = Clickhouse::new(&address, None).unwrap().query("SELECT 1", &[]).unwrap_err().to_string();
        served.join().unwrap();
        assert!(error.contains("clickhouse://aftr@127.0.0.1:") && !error.contains("secret"), "{error}");
        error
    }

    #[test]
    fn a_value_goes_as_a_parameter_and_never_into_the_statement() {
        let (address, served) = server("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n1\n");
        let clickhouse = Clickhouse::new(&address, None).unwrap();
        let answer = clickhouse.query("SELECT 1", &[("aftr", &"x' OR 1 & y")]).unwrap();
        let asked = served.join().unwrap();
        assert_eq!(answer, b"1\n");
        assert!(
            asked.contains("param_aftr=x%27%20OR%201%20%26%20y") && asked.contains("database=cgn"),
            "{asked}"
        );
        assert!(asked.contains("x-clickhouse-key: secret") && asked.ends_with("\r\n\r\nSELECT 1"), "{asked}");
    }

    #[test]
    fn an_error_says_where_it_came_from_and_what_helps() {
        let missing = "HTTP/1.1 404 Not Found\r\nX-ClickHouse-Exception-Code: 60\r\nContent-Length: 40\r\n\r\n\
                       Code: 60. DB::Exception: Unknown table x";
        let told_missing = told(missing);
        assert!(
            told_missing.contains("Unknown table x") && told_missing.contains("ship --create"),
            "{told_missing}"
        );
        let denied = told("HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n");
        assert!(denied.contains("401") && denied.contains("--password-file"), "{denied}");
        let full = "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 47\r\n\r\n\
                    Code: 243. DB::Exception: Not enough space on d";
        assert!(told(full).contains("Not enough space"));
        // What else listens there.
        assert!(told("HTTP/1.1 400 Bad Request\r\nContent-Length: 5\r\n\r\nnginx").contains("8123"));
        // It says 200 first and knows better later.
        let late = "HTTP/1.1 200 OK\r\nX-ClickHouse-Exception-Code: 159\r\nContent-Length: 35\r\n\r\n\
                    Code: 159. DB::Exception: Timeout e";
        assert!(told(late).contains("Timeout e"));
    }

    #[test]
    fn numbers_may_be_text() {
        assert_eq!([number(&7.into()), number(&"18446744073709551615".into())], [Some(7), Some(u64::MAX)]);
        assert_eq!([number(&"x".into()), number(&Value::Null)], [None, None]);
    }

    #[test]
    fn an_answer_that_breaks_off_is_none() {
        assert!(told("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf").contains("does not answer"));
        assert!(told("").contains("does not answer"));
    }

    #[test]
    fn nobody_there_and_nobody_who_answers_are_told() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address: Address =
            format!("clickhouse://127.0.0.1:{}/", listener.local_addr().unwrap().port()).parse().unwrap();
        let patience = Duration::from_millis(200);
        let silent = Clickhouse::with_patience(&address, None, patience).unwrap();
        let error = silent.query("SELECT 1", &[]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{error}");
        drop(listener);
        let error = Clickhouse::new(&address, None).unwrap().query("SELECT 1", &[]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotConnected, "{error}");
        assert!(
            error.to_string().contains("does not answer") && error.to_string().contains("is it up"),
            "{error}"
        );
    }

    #[test]
    fn an_authority_that_is_no_certificate_is_refused() {
        let address: Address = "clickhouses://127.0.0.1/".parse().unwrap();
        assert!(Clickhouse::new(&address, Some(b"no certificate")).is_err());
    }
}
