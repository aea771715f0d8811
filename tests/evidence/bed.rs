//! Network namespaces in a row, and the daemon in the middle one:
//!
//! ```text
//! homes 2001:db8:b4::/48 ── access ── aftr run ── 203.0.113.1 internet
//! ```

use std::fs;
use std::io::{BufRead, BufReader};
use std::ops::Deref;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aftr::attribution::Millis;
use aftr::commands::lab::topology::{Node, link};
use rustix::process::{Pid, Signal, kill_process};

pub(crate) const AFTR: &str = env!("CARGO_BIN_EXE_aftr");

/// One after the other: they measure.
static ALONE: Mutex<()> = Mutex::new(());

/// Runs the ignored test `child` of this program, as root of user, network and mount namespaces of its own.
pub(crate) fn in_namespaces(child: &str) {
    let _alone: MutexGuard<'_, ()> = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let isolated = || {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--net", "--mount", "--"]);
        command
    };
    let probe =
        "ip link add name one type veth peer name other && mount -t tmpfs tmpfs /mnt && : <>/dev/net/tun";
    if !isolated().args(["sh", "-c", probe]).output().is_ok_and(|output| output.status.success()) {
        println!("SKIPPED: {child}: no namespaces, no ip(8), no mount(8) or no /dev/net/tun here");
        assert!(std::env::var_os("AFTR_NOTHING_SKIPPED").is_none(), "nothing may be skipped here");
        return;
    }
    let mut command = isolated();
    command.arg(std::env::current_exe().unwrap()).args(["--exact", child, "--ignored", "--nocapture"]);
    let output = command.output().unwrap();
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    println!("{text}");
    assert!(output.status.success() && text.contains("1 passed"), "{child} has failed");
}

/// The hosts. Nothing runs in them yet.
pub(crate) struct Bed {
    pub(crate) access: Node,
    pub(crate) aftr: Node,
    pub(crate) internet: Node,
    pub(crate) folder: Folder,
}

/// The link-layer address of the AFTR's host in the access network.
pub(crate) const AFTR_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

impl Bed {
    pub(crate) fn new(name: &str) -> Bed {
        let node = |name| Node::new(name).unwrap();
        let (access, aftr, internet) = (node("access"), node("aftr"), node("internet"));
        link(&access, "aftr", &aftr, "access", 1540).unwrap();
        link(&internet, "aftr", &aftr, "internet", 1500).unwrap();
        ip(&aftr, "link set access address 02:00:00:00:00:01");
        ip(&internet, "link set aftr address 02:00:00:00:00:02");
        // Packets to nobody, and what a host without a tunnel would say to them, stay out of the way.
        ip(&access, "link set aftr arp off");
        let v6 = "2001:db8:ffff::1/64";
        aftr.configure(&[("internet", "203.0.113.254/24"), ("access", v6)], &[], true).unwrap();
        ip(&aftr, "neighbour replace 203.0.113.1 lladdr 02:00:00:00:00:02 dev internet nud permanent");
        internet.configure(&[("aftr", "203.0.113.1/24")], &[], false).unwrap();
        Bed { access, aftr, internet, folder: Folder::new(name) }
    }

    /// Writes the configuration: `rest` behind what every test needs.
    pub(crate) fn configure(&self, rest: &str) -> PathBuf {
        let path = self.folder.join("aftr.toml");
        let text = format!(
            "[softwire]\naftr-ipv6-addr = ['2001:db8:aaaa::1']\nb4-prefixes = ['2001:db8:b4::/48']\n\
             access-mtu = 1540\n[nat.port-set]\nport-set-size = 256\nmax-port-sets = 1\n{rest}"
        );
        fs::write(&path, text).unwrap();
        path
    }

    /// Starts the daemon and waits until it says that it is ready.
    pub(crate) fn start(&self, config: &Path) -> Daemon {
        let socket = self.folder.join("notify");
        let _ = fs::remove_file(&socket);
        let notices = UnixDatagram::bind(&socket).unwrap();
        notices.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        let mut command = Command::new(AFTR);
        command.args(["run", "--log-format", "human", "--config"]).arg(config);
        command.env("NOTIFY_SOCKET", &socket).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = self.aftr.run(|| command.spawn()).unwrap().unwrap();
        let log: Arc<Mutex<Vec<String>>> = Arc::default();
        let (stderr, lines) = (child.stderr.take().unwrap(), Arc::clone(&log));
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                lines.lock().unwrap().push(line);
            }
        });
        let mut daemon = Daemon { child, log };
        let mut patience = 60;
        let mut buffer = [0; 4096];
        loop {
            match notices.recv(&mut buffer) {
                Ok(length) if String::from_utf8_lossy(&buffer[..length]).contains("READY=1") => {
                    return daemon;
                }
                Ok(_) => {}
                Err(error) => {
                    patience -= 1;
                    let lives = patience > 0 && daemon.child.try_wait().unwrap().is_none();
                    assert!(lives, "the daemon is not ready: {error}\n{}", daemon.text());
                }
            }
        }
    }
}

/// `aftr run`. It is killed when it goes out of scope.
pub(crate) struct Daemon {
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
}

impl Daemon {
    /// What it has said so far.
    pub(crate) fn text(&self) -> String {
        self.log.lock().unwrap().join("\n")
    }

    /// KiB that it has in memory.
    pub(crate) fn memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    pub(crate) fn kill(mut self) {
        assert!(self.child.try_wait().unwrap().is_none(), "it has ended by itself:\n{}", self.text());
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Tells it to stop; gives all that it said.
    pub(crate) fn stop(mut self) -> String {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        let status = self.child.wait().unwrap();
        // The reader of the log ends with it.
        std::thread::sleep(Duration::from_millis(100));
        assert!(status.success(), "{status}\n{}", self.text());
        self.text()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Does `play` while a thread does `meanwhile`, until `is_over`, which is so at the end even if something fails.
pub(crate) fn meanwhile<T>(
    is_over: &AtomicBool,
    meanwhile: impl FnOnce() + Send,
    play: impl FnOnce() -> T,
) -> T {
    struct Over<'o>(&'o AtomicBool);
    impl Drop for Over<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    std::thread::scope(|scope| {
        let _over = Over(is_over);
        scope.spawn(meanwhile);
        play()
    })
}

/// An empty folder that goes when the test ends.
pub(crate) struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("evidence-{name}"));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Folder(path)
    }
}

impl Deref for Folder {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}

pub(crate) fn ip(node: &Node, arguments: &str) {
    let status = node.run(|| Command::new("ip").args(arguments.split(' ')).status()).unwrap().unwrap();
    assert!(status.success(), "ip {arguments}");
}

/// The time of day.
#[expect(clippy::disallowed_methods, reason = "a test in real time")]
pub(crate) fn now() -> Millis {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as Millis
}

/// Waits until something is so, at most half a minute.
pub(crate) fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..3000 {
        if is_so() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("{what}: never");
}
