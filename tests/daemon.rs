//! The program as an operator meets it: messages, exit statuses, signals. What needs an interface happens
//! inside a network namespace that the test makes; where that cannot be, the test says so and passes.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod program;

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use program::{AFTR, aftr, assert_ends, text};

const CONFIG: &str = r#"
[softwire]
aftr-ipv6-addr = ["2001:db8:aaaa::1"]
b4-prefixes = ["2001:db8:b4::/48"]

[[nat.external-ip-address-pool]]
pool-id = 1
external-ip-pool = ["198.51.100.0/28"]

[dataplane]
interface = "aftr7"
manage-host = true
"#;

#[test]
fn a_missing_configuration_is_named() {
    let output = aftr(&["run", "--config", "/nonexistent/aftr.toml"]);
    assert_ends(&output, 2, &["/nonexistent/aftr.toml", "No such file", "--config"]);
}

#[test]
fn a_wrong_configuration_is_refused_by_the_check_and_by_the_daemon() {
    let file = file("mistakes", &CONFIG.replace("pool-id = 1", "pool-id = 1\nhigh-treshold = 90"));
    let expected = [file.as_str(), "1 error\n", "high-treshold"];
    assert_ends(&aftr(&["check", &file]), 2, &expected);
    if namespaces_work("a_wrong_configuration_is_refused_by_the_check_and_by_the_daemon") {
        let output = namespace(AFTR).args(["run", "--config", &file]).output().unwrap();
        assert_ends(&output, 2, &expected);
    }
}

#[test]
fn the_right_configuration_is_summed_up() {
    let output = aftr(&["check", &file("summed-up", CONFIG)]);
    assert_ends(&output, 0, &["external addresses      16", "subscribers             2016", "MiB"]);
    let output = aftr(&["check", "--json", &file("summed-up-json", CONFIG)]);
    let summary: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&summary["external-addresses"], &summary["subscribers"]), (&16.into(), &2016.into()));
}

#[test]
fn without_permission_the_message_names_the_ways_to_get_it() {
    // In a namespace of its own, so that nothing happens to the host if the permission is there after all.
    if !namespaces_work("without_permission_the_message_names_the_ways_to_get_it") {
        return;
    }
    let file = file("permission", CONFIG);
    let capabilities = ["--bounding-set=-net_admin", "--inh-caps=-all", "--ambient-caps=-all"];
    let output =
        namespace("setpriv").args(capabilities).args([AFTR, "run", "--config", &file]).output().unwrap();
    assert_ends(&output, 3, &["CAP_NET_ADMIN", "sudo", "aftr lab", "--cap-add NET_ADMIN"]);
}

#[test]
fn a_host_that_does_not_forward_is_told_how_to() {
    if !namespaces_work("a_host_that_does_not_forward_is_told_how_to") {
        return;
    }
    let file = file("forwarding", &CONFIG.replace("manage-host = true", "manage-host = false"));
    let output = namespace("sh")
        .args([
            "-c",
            "echo 0 > /proc/sys/net/ipv4/ip_forward; exec \"$@\"",
            "sh",
            AFTR,
            "run",
            "--config",
            &file,
        ])
        .output()
        .unwrap();
    let expected =
        ["sysctl -w net/ipv4/ip_forward=1", "sysctl -w net/ipv6/conf/all/forwarding=1", "manage-host"];
    assert_ends(&output, 3, &expected);
}

#[test]
fn an_address_that_the_host_owns_is_refused() {
    if !namespaces_work("an_address_that_the_host_owns_is_refused") {
        return;
    }
    let file = file("local", CONFIG);
    for address in ["198.51.100.9/32", "198.51.100.9 peer 192.0.2.1/32"] {
        let script = format!("ip address add {address} dev lo && exec \"$@\"");
        let output =
            namespace("sh").args(["-c", &script, "sh", AFTR, "run", "--config", &file]).output().unwrap();
        assert_ends(&output, 3, &["198.51.100.9 is an address of this host: lo"]);
    }
}

#[test]
fn a_route_that_was_there_before_is_refused() {
    if !namespaces_work("a_route_that_was_there_before_is_refused") {
        return;
    }
    let file = file("route", CONFIG);
    let script = "ip link set lo up && ip route add 198.51.100.0/28 dev lo && exec \"$@\"";
    let output = namespace("sh").args(["-c", script, "sh", AFTR, "run", "--config", &file]).output().unwrap();
    assert_ends(&output, 3, &["ip route del 198.51.100.0/28"]);
}

#[test]
fn it_starts_reloads_and_stops_as_it_is_told() {
    if !namespaces_work("it_starts_reloads_and_stops_as_it_is_told") {
        return;
    }
    let file = file("life", CONFIG);
    let mut daemon = Daemon::start("life", &file);
    daemon.expect("READY=1");
    let link = daemon.inside(&["ip", "link", "show", "aftr7"]);
    assert!(["mtu 1500", "qlen 2048", "UP"].iter().all(|part| link.contains(part)), "{link}");
    assert!(daemon.inside(&["ip", "route"]).contains("198.51.100.0/28 dev aftr7"));
    assert!(daemon.inside(&["ip", "-6", "route"]).contains("2001:db8:aaaa::1 dev aftr7"));
    assert_eq!(daemon.capabilities(), ["0000000000001000"; 2], "CAP_NET_ADMIN is bit 12");

    fs::write(&file, CONFIG.replace("198.51.100.0/28", "198.51.100.0/28\", \"203.0.113.7")).unwrap();
    daemon.signal("HUP");
    daemon.expect("STATUS=translating; reloaded");
    assert!(daemon.inside(&["ip", "route"]).contains("203.0.113.7 dev aftr7"));

    fs::write(&file, "nonsense").unwrap();
    daemon.signal("HUP");
    daemon.expect("found errors");
    assert!(daemon.inside(&["ip", "route"]).contains("203.0.113.7 dev aftr7"));

    fs::write(&file, CONFIG.replace("2001:db8:aaaa::1", "2001:db8:aaaa::2")).unwrap();
    daemon.signal("HUP");
    daemon.expect("was refused");
    assert!(!daemon.inside(&["ip", "-6", "route"]).contains("2001:db8:aaaa::2"));

    fs::write(&file, CONFIG).unwrap();
    daemon.signal("HUP");
    daemon.expect("STATUS=translating; reloaded");
    assert!(!daemon.inside(&["ip", "route"]).contains("203.0.113.7"));

    daemon.signal("TERM");
    let output = daemon.wait();
    assert_ends(&output, 0, &["reloaded", "only a restart changes softwire.aftr-ipv6-addr", "stopped"]);
}

/// IPX-8, IPX-9, RFC 7011 section 4: after privileges were given up, in the namespace of the daemon.
#[test]
fn a_collector_by_tls_hears_of_a_reload_and_is_in_the_status() {
    if !namespaces_work("a_collector_by_tls_hears_of_a_reload_and_is_in_the_status") {
        return;
    }
    let tls = |name: &str| format!("{}/tests/collectors/tls/{name}", env!("CARGO_MANIFEST_DIR"));
    let journal = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("daemon-journal");
    let config = format!(
        "{CONFIG}[journal]\ndirectory = '{}'\n[[ipfix.collector]]\naddress = '127.0.0.1'\nreconnect-interval = 1\n\
         tls = {{ ca-file = '{}', certificate-file = '{}', key-file = '{}' }}\n",
        journal.display(),
        tls("ca.pem"),
        tls("aftr.pem"),
        tls("aftr.key")
    );
    let file = file("tls", &config);
    let up = ["sh", "-c", "ip link set lo up && exec \"$@\"", "sh", AFTR];
    let mut daemon = Daemon::start_with("tls", &up, &file);
    daemon.expect("READY=1");
    let [ca, certificate, key] = ["ca.pem", "collector.pem", "collector.key"].map(tls);
    let (pid, told) = (daemon.child.id().to_string(), journal.with_extension("told"));
    let server = ["openssl", "s_server", "-quiet", "-accept", "4740", "-Verify", "2", "-verify_return_error"];
    let openssl = Command::new("nsenter")
        .args(["--preserve-credentials", "--user", "--net", "--target", &pid, "--"])
        .args(server)
        .args(["-CAfile", &ca, "-cert", &certificate, "-key", &key])
        .stdin(Stdio::piped())
        .stdout(fs::File::create(&told).unwrap())
        .stderr(Stdio::null())
        .spawn();
    let mut openssl = openssl.unwrap();
    let hears = |name: &str| {
        let has = || fs::read(&told).unwrap().windows(name.len()).any(|octets| octets == name.as_bytes());
        let heard = (0..400).any(|_| {
            std::thread::sleep(Duration::from_millis(25));
            has()
        });
        assert!(heard, "the collector was not told of {name}");
    };
    hears("198.51.100.0/28");
    fs::write(&file, config.replace("198.51.100.0/28", "198.51.100.0/28\", \"203.0.113.7")).unwrap();
    daemon.signal("HUP");
    daemon.expect("STATUS=translating; reloaded");
    hears("198.51.100.0/28,203.0.113.7/32");
    daemon.signal("TERM");
    let output = daemon.wait();
    let _ = openssl.kill();
    openssl.wait().unwrap();
    let status = ["journal=durable ", ", waiting 0, lost 0, ", "collector", "ipfix 127.0.0.1:4740", "lost=0"];
    assert_ends(&output, 0, &status);
}

/// The configuration with two interfaces instead of the tun.
fn packet_config() -> String {
    let dataplane = "device = \"packet\"\ninterfaces = { b4 = \"access\", internet = \"outside\" }\n";
    let (rest, _) = CONFIG.split_once("interface =").unwrap();
    format!("{rest}{dataplane}")
}

/// Makes the interfaces, and what a host has there.
const INTERFACES: &str = "ip link add access type veth peer name homes && ip link add outside type veth peer name world \
    && for i in access homes outside world; do ip link set $i up; done \
    && ip address add 203.0.113.254/24 dev outside && ip route add default via 203.0.113.1 && exec \"$@\"";

#[test]
fn interfaces_that_are_not_there_or_too_narrow_are_named() {
    if !namespaces_work("interfaces_that_are_not_there_or_too_narrow_are_named") {
        return;
    }
    let file = file("packet-interfaces", &packet_config());
    let output = namespace(AFTR).args(["run", "--config", &file]).output().unwrap();
    assert_ends(&output, 3, &["there is no interface `access`", "ip link", "interfaces = {"]);
    let script = INTERFACES.replace("exec", "ip link set access mtu 1400 && exec");
    let output =
        namespace("sh").args(["-c", &script, "sh", AFTR, "run", "--config", &file]).output().unwrap();
    assert_ends(
        &output,
        3,
        &["`access` takes packets of 1400 bytes", "softwire.access-mtu is 1500", "mtu 1500"],
    );
}

#[test]
fn device_packet_keeps_the_kernel_out_and_follows_a_reload() {
    if !namespaces_work("device_packet_keeps_the_kernel_out_and_follows_a_reload") {
        return;
    }
    let file = file("packet-life", &packet_config());
    let mut daemon = Daemon::start_with("packet-life", &["sh", "-c", INTERFACES, "sh", AFTR], &file);
    daemon.expect("READY=1");
    assert!(daemon.inside(&["ip", "route"]).contains("blackhole 198.51.100.0/28"));
    assert!(daemon.inside(&["ip", "-6", "route"]).contains("blackhole 2001:db8:aaaa::1"));
    for interface in ["access", "outside"] {
        let filter = daemon.inside(&["tc", "filter", "show", "dev", interface, "ingress"]);
        assert!(filter.contains("direct-action"), "{filter}");
    }
    assert_eq!(daemon.capabilities(), ["0000000000001000"; 2], "CAP_NET_ADMIN is bit 12");

    let wider = packet_config().replace("198.51.100.0/28", "198.51.100.0/28\", \"203.0.114.7");
    fs::write(&file, wider).unwrap();
    let before = daemon.inside(&["tc", "filter", "show", "dev", "outside", "ingress"]);
    daemon.signal("HUP");
    daemon.expect("STATUS=translating; reloaded");
    assert!(daemon.inside(&["ip", "route"]).contains("blackhole 203.0.114.7"));
    assert_ne!(before, daemon.inside(&["tc", "filter", "show", "dev", "outside", "ingress"]));

    daemon.signal("TERM");
    assert_ends(&daemon.wait(), 0, &["taking packets from the interface", "stopped"]);
}

/// `aftr run` in a namespace, with this test as its service manager.
struct Daemon {
    child: Child,
    notices: UnixDatagram,
}

impl Daemon {
    fn start(test: &str, config: &str) -> Daemon {
        Daemon::start_with(test, &[AFTR], config)
    }

    /// The same, by a command that ends in executing its arguments.
    fn start_with(test: &str, command: &[&str], config: &str) -> Daemon {
        let socket = std::env::temp_dir().join(format!("aftr-{test}-{}", std::process::id()));
        let _ = fs::remove_file(&socket);
        let notices = UnixDatagram::bind(&socket).unwrap();
        notices.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let child = namespace(command[0])
            .args(&command[1..])
            .args(["run", "--log-format", "human", "--config", config])
            .env("NOTIFY_SOCKET", &socket)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Daemon { child, notices }
    }

    /// Waits for a message to the service manager that contains `part`.
    fn expect(&mut self, part: &str) {
        let mut buffer = [0; 4096];
        loop {
            match self.notices.recv(&mut buffer) {
                Ok(length) if String::from_utf8_lossy(&buffer[..length]).contains(part) => return,
                Ok(_) => {}
                Err(error) => {
                    self.signal("KILL");
                    let mut log = String::new();
                    std::io::Read::read_to_string(self.child.stderr.as_mut().unwrap(), &mut log).unwrap();
                    panic!("no {part:?}: {error}\n{log}");
                }
            }
        }
    }

    fn inside(&self, command: &[&str]) -> String {
        let pid = self.child.id().to_string();
        let enter = ["--preserve-credentials", "--user", "--net", "--target", &pid, "--"];
        let output = Command::new("nsenter").args(enter).args(command).output().unwrap();
        assert!(output.status.success(), "{command:?}: {}", text(&output));
        text(&output)
    }

    /// Effective and bounding set, in hexadecimal, of every thread: all the same.
    fn capabilities(&self) -> Vec<String> {
        let threads = fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        let mut sets: Vec<Vec<String>> = threads
            .map(|thread| {
                let status = fs::read_to_string(thread.unwrap().path().join("status")).unwrap();
                let set =
                    |name| status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned();
                vec![set("CapEff:"), set("CapBnd:")]
            })
            .collect();
        assert!(sets.len() >= 3, "supervisor, worker and event log are expected: {sets:?}");
        sets.dedup();
        assert_eq!(sets.len(), 1, "threads differ: {sets:?}");
        sets.remove(0)
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([format!("-{name}"), pid]).status().unwrap().success());
    }

    fn wait(self) -> Output {
        self.child.wait_with_output().unwrap()
    }
}

/// `program` as root of a user and network namespace of its own.
fn namespace(program: &str) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--net", "--", program]);
    command
}

fn namespaces_work(test: &str) -> bool {
    let works = namespace("sh")
        .args(["-c", "ip link show lo && : <>/dev/net/tun"])
        .output()
        .is_ok_and(|output| output.status.success());
    if !works {
        assert!(std::env::var_os("AFTR_NOTHING_SKIPPED").is_none(), "nothing may be skipped here");
        eprintln!("SKIPPED: {test}: no namespaces, no ip(8) or no /dev/net/tun here");
    }
    works
}

fn file(test: &str, content: &str) -> String {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{test}.toml"));
    fs::write(&path, content).unwrap();
    path.to_str().unwrap().to_owned()
}
