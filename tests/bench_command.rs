//! `aftr bench --short`: every measurement has a row for every forwarder, and packets really arrive. Times
//! are not judged. And an AFTR that is none of the bench's is driven by two interfaces.

use std::fs::OpenOptions;
use std::process::{Command, Output};
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

use aftr::commands::lab::topology::{Node, link};
use aftr::daemon::{Daemon, Options};
use aftr::engine::Config;
use serde_json::Value;

/// Exit status of a command that this host lacks something for.
const HOST_LACKS: i32 = 3;

const FORWARDERS: [&str; 7] = [
    "aftr-tun",
    "bare-tun",
    "aftr-tun-plain",
    "aftr-packet",
    "bare-ring",
    "kernel-routing",
    "nftables-masquerade",
];

#[test]
fn every_forwarder_passes_packets_in_every_measurement() {
    let output = bench(&["--json", "--device", "tun,tun-plain,packet"]);
    let Some(found) = document(&output) else { return };
    let present: Vec<&str> = FORWARDERS.iter().copied().filter(|name| !is_skipped(&found, name)).collect();
    // What a local TCP sends is not finished enough for a loop that sends it as it is.
    let with_tcp = |name: &&str| *name != "bare-ring" && !is_skipped(&found, &format!("{name}, TCP"));
    let carriers: Vec<&str> = present.iter().copied().filter(with_tcp).collect();
    for scene in array(&found["throughput"]) {
        assert!(array(&scene["sender_alone"])[0]["offered"].as_f64() > Some(0.0), "{scene}");
        every_round(scene, &present, |round| round["arrived"].as_f64() > Some(0.0));
    }
    for scene in array(&found["quality"]) {
        every_round(scene, &present, |round| {
            round["arrived"].as_u64() > Some(0) && round["p50"].as_f64() > Some(0.0)
        });
    }
    assert_eq!((array(&found["throughput"]).len(), array(&found["quality"]).len()), (3, 4));
    for scene in array(&found["lossless"]) {
        // A machine that is busy may lose some at any rate.
        every_round(scene, &present, |round| round["rate"].as_f64() >= Some(0.0));
    }
    check_rows(&found["new_flows"], &present, |round| round["arrived"].as_u64() > Some(0));
    let ways = ["one_up", "one_down", "many_up", "many_down"];
    check_rows(&found["tcp"], &carriers, |round| ways.iter().all(|way| round[way].as_f64() > Some(0.0)));
}

#[test]
fn tables_are_printed_as_markdown() {
    let output = bench(&["--markdown", "--direction", "up"]);
    if output.status.code() == Some(HOST_LACKS) {
        return skip(&String::from_utf8_lossy(&output.stderr));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("| kernel-routing "), "{text}");
    assert!(!text.contains("From the Internet, packets"), "{text}");
}

#[test]
fn more_flows_than_ports_are_refused() {
    let output = Command::new(env!("CARGO_BIN_EXE_aftr"))
        .args(["bench", "--b4s", "2", "--flows", "5000"])
        .output()
        .expect("the command");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("more B4s, or fewer flows"), "{said}");
}

/// Two interfaces of one host, with an AFTR behind them that the bench knows nothing of.
#[test]
fn another_aftr_is_driven_by_two_interfaces() {
    let (tester, aftr) = match (Node::new("tester"), Node::new("aftr")) {
        (Ok(tester), Ok(aftr)) => (tester, aftr),
        (Err(error), _) | (_, Err(error)) => return skip(&format!("{error:#}")),
    };
    if let Err(error) = OpenOptions::new().read(true).write(true).open("/dev/net/tun") {
        return skip(&format!("/dev/net/tun: {error}"));
    }
    connect(&tester, &aftr).expect("two links");
    let _daemon = Running::start(aftr);
    let output = tester.run(|| {
        let target = "--b4-interface b4s --internet-interface servers --aftr 2001:db8:aaaa::1 \
                      --b4-via 2001:db8:c::1 --internet-via 203.0.113.254";
        bench(&[&["--json"][..], &target.split_whitespace().collect::<Vec<_>>()].concat())
    });
    let found = document(&output.expect("the namespace")).expect("a document");
    for scene in array(&found["throughput"]) {
        every_round(scene, &["the AFTR"], |round| round["arrived"].as_f64() > Some(0.0));
    }
    for scene in array(&found["quality"]) {
        every_round(scene, &["the AFTR"], |round| round["arrived"].as_u64() > Some(0));
    }
    check_rows(&found["new_flows"], &["the AFTR"], |round| round["arrived"].as_u64() > Some(0));
}

fn connect(tester: &Node, aftr: &Node) -> anyhow::Result<()> {
    link(tester, "b4s", aftr, "access", 1540)?;
    link(tester, "servers", aftr, "internet", 1500)?;
    tester.configure(&[("b4s", "2001:db8:c::2/64"), ("servers", "203.0.113.1/24")], &[], false)?;
    aftr.configure(
        &[("access", "2001:db8:c::1/64"), ("internet", "203.0.113.254/24")],
        &[("2001:db8:b4::/48", "access", "2001:db8:c::2"), ("192.0.2.0/24", "internet", "203.0.113.1")],
        true,
    )
}

/// A daemon in a namespace, on a thread that stays there.
struct Running {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    fn start(node: Node) -> Running {
        let config = Config::parse(
            "[softwire]\naftr-ipv6-addr = ['2001:db8:aaaa::1']\nb4-prefixes = ['2001:db8:b4::/48']\n\
             subscriber-mask-v6 = 64\naccess-mtu = 1540\n[nat.port-quota]\n\
             new-mappings-per-second = 1000000\nnew-mappings-burst = 1000000\n\
             [[nat.external-ip-address-pool]]\npool-id = 1\nexternal-ip-pool = ['198.51.100.0/28']\n\
             [dataplane]\nmanage-host = true\n",
        );
        let config = config.expect("the configuration");
        let ((stop, stopped), (ready, started)) = (channel(), channel());
        let thread = std::thread::spawn(move || {
            node.enter().expect("the namespace");
            let _daemon = Daemon::start(config, Options::default()).expect("the daemon");
            ready.send(()).expect("the test");
            // Until the other end is gone.
            let _ = stopped.recv();
        });
        started.recv().expect("the daemon");
        Running { stop: Some(stop), thread: Some(thread) }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn bench(arguments: &[&str]) -> Output {
    let command =
        Command::new(env!("CARGO_BIN_EXE_aftr")).args(["bench", "--short"]).args(arguments).output();
    command.expect("the command")
}

/// What the bench found; none when this host lacks what it needs.
fn document(output: &Output) -> Option<Value> {
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.code() == Some(HOST_LACKS) {
        skip(&said);
        return None;
    }
    assert!(output.status.success(), "{said}");
    let found: Value = serde_json::from_slice(&output.stdout).expect("a document");
    for why in array(&found["skipped"]) {
        skip(why.as_str().expect("a reason"));
    }
    Some(found)
}

fn is_skipped(found: &Value, name: &str) -> bool {
    let is_it = |why: &str| why.strip_prefix(name).is_some_and(|rest| rest.starts_with(": "));
    array(&found["skipped"]).iter().any(|why| why.as_str().is_some_and(is_it))
}

fn every_round(scene: &Value, present: &[&str], holds: impl Fn(&Value) -> bool) {
    check_rows(&scene["rows"], present, holds);
}

fn check_rows(rows: &Value, present: &[&str], holds: impl Fn(&Value) -> bool) {
    let rows = array(rows);
    for name in present {
        let row = rows.iter().find(|row| row["forwarder"] == *name);
        let rounds = array(&row.unwrap_or_else(|| panic!("no row of {name} in {rows:?}"))["rounds"]);
        assert!(!rounds.is_empty() && rounds.iter().all(&holds), "{name}: {rounds:?}");
    }
}

fn array(value: &Value) -> &[Value] {
    value.as_array().unwrap_or_else(|| panic!("no list: {value}"))
}

fn skip(why: &str) {
    println!("SKIPPED: bench_command: {}", why.trim());
    assert!(std::env::var_os("AFTR_NOTHING_SKIPPED").is_none(), "nothing may be skipped here");
}
