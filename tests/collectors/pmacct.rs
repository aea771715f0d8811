//! pmacct's nfacctd by IPFIX over UDP, with the primitives and the configuration of `docs/collectors/`.

use std::process::{Command, Stdio};
use std::time::Duration;

use aftr::export::Stamped;
use serde_json::Value;

use crate::journal;
use crate::run::{self, Told};

/// IPX-48
#[test]
fn nfacctd_tells_what_was_sent() {
    let events = run::events();
    if let Some(told) = collected("pmacct", &events) {
        journal::assert_agrees("pmacct", &events, &told);
        assert_eq!(run::sorted(told), run::sorted(run::told(true)));
    }
}

/// IPX-48
#[test]
fn nfacctd_agrees_with_the_journal_over_hours() {
    let events = journal::history();
    if let Some(told) = collected("pmacct-hours", &events) {
        journal::assert_agrees("pmacct-hours", &events, &told);
    }
}

fn collected(name: &str, events: &[Stamped]) -> Option<Vec<Told>> {
    if !run::has("nfacctd") {
        return None;
    }
    let (folder, port) = (run::folder(name), run::free_udp_port());
    let documented = include_str!("../../docs/collectors/nfacctd.conf");
    let primitives = folder.join("aftr-primitives.lst");
    std::fs::write(&primitives, include_str!("../../docs/collectors/aftr-primitives.lst")).expect("a file");
    let grants = folder.join("grants.json");
    let configuration = documented
        .replace("/etc/pmacct/aftr-primitives.lst", &primitives.to_string_lossy())
        .replace("/var/lib/pmacct/aftr.json", &grants.to_string_lossy())
        .replace("nfacctd_port: 4739", &format!("nfacctd_port: {port}"))
        .replace("print_refresh_time: 60", "print_refresh_time: 1");
    let file = folder.join("nfacctd.conf");
    std::fs::write(&file, configuration).expect("a file");
    let mut nfacctd = Command::new(if std::path::Path::new("/usr/sbin/nfacctd").exists() {
        "/usr/sbin/nfacctd"
    } else {
        "nfacctd"
    })
    .arg("-f")
    .arg(&file)
    .stdout(Stdio::null())
    .stderr(Stdio::piped())
    .spawn()
    .expect("nfacctd");
    run::wait_for_udp(port);
    let export = format!(
        "[[ipfix.collector]]\naddress = '127.0.0.1'\nport = {port}\npreset = 'pmacct'\nlog = 'mappings'\n"
    );
    run::tell(run::exporter(&export), events);
    std::thread::sleep(Duration::from_secs(1));
    run::interrupt(&mut nfacctd);
    let said = std::io::read_to_string(nfacctd.stderr.take().expect("its log")).expect("text");
    assert!(!said.contains("malformed"), "{said}");
    let written = std::fs::read_to_string(&grants).unwrap_or_default();
    let records = written.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    Some(records.filter(|record| record["nat_event"] != 18).map(|record| read(&record)).collect())
}

fn read(record: &Value) -> Told {
    let text = |key: &str| run::text(&record[key]);
    let number = |key: &str| text(key).parse::<u16>().expect("a number");
    let time = text("timestamp_start");
    let (seconds, micros) = time.split_once('.').expect("a time");
    let protocol = match text("ip_proto").as_str() {
        "tcp" => 6,
        "udp" => 17,
        "icmp" => 1,
        other => other.parse().expect("a protocol"),
    };
    Told {
        at: seconds.parse::<u64>().expect("seconds") * 1000 + micros.parse::<u64>().expect("micros") / 1000,
        event: number("nat_event") as u8,
        b4: text("ip_src").parse().expect("a B4"),
        internal: text("aftr_host").parse().expect("a host"),
        external: text("post_nat_ip_src").parse().expect("an external address"),
        ports: if protocol == 0 {
            (number("aftr_port_first"), number("aftr_port_last"))
        } else {
            (number("port_src"), number("post_nat_port_src"))
        },
        protocol,
    }
}
