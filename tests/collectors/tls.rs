//! TLS against OpenSSL, which is not ours: both ends show certificates, and where one is not what it should be nothing
//! leaves, the log says why and what to do, and everything comes once it is right.
//!
//! `tls/`: a CA with the certificates of a collector (`collector.example.net`, 127.0.0.1) and of an AFTR, and a CA that
//! nobody trusts. Made for these tests, good from 2024 to 2053; the CAs' keys are thrown away.

use std::io::{self, Read as _, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use aftr::export::{ExportCounters, Exporter, TargetStatus, records};

use crate::journal;
use crate::run;

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/collectors/tls").join(name)
}

/// `openssl s_server`, which writes what it is told into a file.
struct OpenSsl {
    child: Child,
    told: PathBuf,
}

impl OpenSsl {
    /// It asks for a certificate that the CA signed.
    fn start(name: &str, port: u16, ca: &str, more: &[&str]) -> OpenSsl {
        let told = run::folder(name).join("told");
        let child = Command::new("openssl")
            .args(["s_server", "-quiet", "-accept", &format!("127.0.0.1:{port}"), "-Verify", "2"])
            .args(["-verify_return_error", "-cert"])
            .arg(file("collector.pem"))
            .arg("-key")
            .arg(file("collector.key"))
            .arg("-CAfile")
            .arg(file(ca))
            .args(more)
            // It ends when its input does.
            .stdin(Stdio::piped())
            .stdout(std::fs::File::create(&told).expect("a file"))
            .stderr(Stdio::null())
            .spawn()
            .expect("openssl");
        let openssl = OpenSsl { child, told };
        wait("openssl to listen", || {
            let sockets = std::fs::read_to_string("/proc/net/tcp").expect("a table of sockets");
            // State 0A: it listens.
            sockets.contains(&format!("0100007F:{port:04X} 00000000:0000 0A"))
        });
        openssl
    }

    fn told(&self) -> Vec<u8> {
        std::fs::read(&self.told).expect("what it was told")
    }
}

impl Drop for OpenSsl {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

/// Attempts are half a second apart.
fn exporter(target: &str, port: u16, spool: &str, ca: &str, name: &str) -> Exporter {
    let config = run::config(&format!(
        "{target}\naddress = '127.0.0.1'\nport = {port}\nlog = 'mappings'\nreconnect-interval = 1\n\
         spool = {{ directory = '{}' }}\n\
         tls = {{ ca-file = '{}', certificate-file = '{}', key-file = '{}'{name} }}\n",
        run::folder(spool).display(),
        file(ca).display(),
        file("aftr.pem").display(),
        file("aftr.key").display(),
    ));
    Exporter::start(&config.export, run::instance(&config), run::Real::faster(2)).expect("an exporter")
}

fn status(counters: &ExportCounters) -> TargetStatus {
    counters.status().remove(0)
}

fn wait(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..400 {
        if is_so() {
            return;
        }
        std::thread::sleep(Duration::from_millis(25));
    }
    panic!("waited for too long: {what}");
}

const NAME: &str = ", server-name = 'collector.example.net'";

/// IPX-8, IPX-9, IPX-48: by both versions, and by the name or the address.
#[test]
fn a_collector_that_is_trusted_is_told_everything() {
    if !run::has("openssl") {
        return;
    }
    for (folder, version, name) in [("tls-13", "-tls1_3", NAME), ("tls-12", "-tls1_2", "")] {
        let port = free_port();
        let openssl = OpenSsl::start(folder, port, "ca.pem", &[version]);
        let spool = format!("{folder}-spool");
        let mut exporter = exporter("[[ipfix.collector]]", port, &spool, "ca.pem", name);
        let events = journal::history();
        exporter.offer(&events);
        let all = 2114;
        wait("every record", || records(&openssl.told()).0.len() == all);
        let status = status(&exporter.stop(Duration::from_secs(5)));
        assert_eq!((status.sent, status.resent, status.loss.total()), (all as u64, 0, 0), "{version}");
        let told = crate::golden::told(&records(&openssl.told()).0);
        journal::assert_agrees(folder, &events, &told);
    }
}

/// SYS-6: lines behind their length (RFC 5425).
#[test]
fn a_receiver_of_syslog_is_told_lines() {
    if !run::has("openssl") {
        return;
    }
    let port = free_port();
    let openssl = OpenSsl::start("tls-syslog", port, "ca.pem", &[]);
    let target = "[[syslog.receiver]]\nsd-style = 'draft'";
    run::tell(exporter(target, port, "tls-syslog-spool", "ca.pem", NAME), &run::events());
    wait("26 lines", || String::from_utf8_lossy(&openssl.told()).matches("NATINST=\"1\"").count() == 26);
    let text = String::from_utf8(openssl.told()).expect("ASCII");
    let (length, behind) = text.split_once(' ').expect("a length");
    assert!(behind[length.parse().expect("a length")..].starts_with(|digit: char| digit.is_ascii_digit()));
}

/// IPX-9: the collector has another name, or its CA is not ours. Nothing leaves.
#[test]
fn a_collector_that_is_not_trusted_is_told_nothing() {
    if !run::has("openssl") {
        return;
    }
    let log = log();
    for (folder, ca, name, cure) in [
        ("tls-name", "ca.pem", ", server-name = 'other.example.net'", "write the name that it is for"),
        ("tls-ca", "other-ca.pem", NAME, "put that CA into tls.ca-file"),
    ] {
        let port = free_port();
        let openssl = OpenSsl::start(folder, port, "ca.pem", &[]);
        let mut exporter = exporter("[[ipfix.collector]]", port, &format!("{folder}-spool"), ca, name);
        let counters = exporter.counters();
        exporter.offer(&run::events());
        wait("three attempts", || status(&counters).attempts >= 3);
        let status = status(&exporter.stop(Duration::from_secs(1)));
        assert_eq!((status.sent, status.octets, status.loss.total()), (0, 0, 0), "{status:?}");
        assert!(status.spool_octets > 26 * 21, "everything is kept: {status:?}");
        assert!(openssl.told().is_empty(), "{folder}");
        let said = String::from_utf8_lossy(&log.lock().expect("a log")).into_owned();
        let line =
            said.lines().find(|line| line.contains(&format!("127.0.0.1:{port}")) && line.contains(cure));
        assert!(line.is_some_and(|line| line.contains("ERROR")), "{said}");
    }
}

/// IPX-9, IPX-41, IPX-43: the collector does not know our CA at first, or speaks no TLS. Then it is right.
#[test]
fn what_a_refusal_held_back_comes_when_it_is_right() {
    if !run::has("openssl") {
        return;
    }
    let port = free_port();
    let refusing = OpenSsl::start("tls-refuses", port, "other-ca.pem", &[]);
    let mut exporter = exporter("[[ipfix.collector]]", port, "tls-refused-spool", "ca.pem", NAME);
    let counters = exporter.counters();
    exporter.offer(&run::events());
    wait("three attempts", || status(&counters).attempts >= 3);
    assert!(refusing.told().is_empty());
    drop(refusing);
    // A collector in clear text.
    let clear = std::net::TcpListener::bind(("127.0.0.1", port)).expect("the port again");
    let (mut session, _) = clear.accept().expect("an attempt");
    session.write_all(b"220 speak\r\n").expect("a greeting");
    let mut hello = Vec::new();
    let _ = session.read_to_end(&mut hello);
    assert!(records(&hello).0.is_empty() && hello[0] == 22, "nothing but a handshake: {hello:?}");
    drop((clear, session));
    let openssl = OpenSsl::start("tls-right", port, "ca.pem", &[]);
    wait("every record", || records(&openssl.told()).0.len() >= 26);
    let status = status(&exporter.stop(Duration::from_secs(5)));
    assert_eq!(status.loss.total(), 0);
    assert_eq!(crate::golden::told(&records(&openssl.told()).0), run::told(true));
}

/// What is logged, of all tests.
fn log() -> Arc<Mutex<Vec<u8>>> {
    static LOG: OnceLock<Arc<Mutex<Vec<u8>>>> = OnceLock::new();
    let start = || {
        let log = Arc::new(Mutex::new(Vec::new()));
        let writer = Arc::clone(&log);
        tracing_subscriber::fmt().with_ansi(false).with_writer(move || Log(Arc::clone(&writer))).init();
        log
    };
    Arc::clone(LOG.get_or_init(start))
}

struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("a log").extend(octets);
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
