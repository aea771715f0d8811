//! End to end: two B4s with the same private addresses, the daemon, and an Internet host, each in a
//! network namespace of its own, with the kernel's real sockets at both ends. Needs no root.
//!
//! A process must be alone to enter a user namespace, so this test has no harness: it plays its cases one
//! after the other. The kernel steers the queues of a tun for root alone, outside of user namespaces: for that
//! part the test starts itself once more.

#[path = "netns/cases.rs"]
mod cases;
#[path = "netns/paths.rs"]
mod paths;
#[path = "netns/links.rs"]
mod links;
#[path = "netns/workers.rs"]
mod workers;

use std::process::Command;

use aftr::commands::lab::topology::{Access, CONFIGURATION, PACKET, Topology};
use aftr::engine::Config;

const AS_ROOT: &str = "as-root";

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if arguments.iter().any(|argument| argument == "--list") {
        return;
    }
    cases::raise_file_limit();
    let failed = if arguments.iter().any(|argument| argument == AS_ROOT) {
        play(steered())
    } else {
        let failed = play_as_root();
        match Topology::isolate() {
            Ok(()) => failed + play(labs()),
            Err(error) => {
                skip(&format!("{error:#}"));
                failed
            }
        }
    };
    std::process::exit(i32::from(failed > 0));
}

fn play_as_root() -> usize {
    match workers::kernel_loads_programs() {
        Ok(()) => {
            let this = std::env::current_exe().expect("this program");
            let status = Command::new(this).arg(AS_ROOT).status().expect("this program again");
            usize::from(!status.success())
        }
        Err(error) => {
            skip(&format!("the kernel lets this process steer no tun: {error}"));
            0
        }
    }
}

/// Says how many failed.
fn play(labs: Vec<Lab>) -> usize {
    let (mut passed, mut failed) = (0, 0);
    for lab in labs {
        println!("{}", lab.name);
        let mut topology = match lab.build() {
            Ok(topology) => topology,
            Err(error) => {
                skip(&format!("{error:#}"));
                continue;
            }
        };
        for (name, case) in lab.cases.iter().copied().flatten() {
            match case(&mut topology) {
                Ok(()) => {
                    passed += 1;
                    println!("test {name} ... ok");
                }
                Err(error) => {
                    failed += 1;
                    println!("test {name} ... FAILED: {error:#}");
                }
            }
        }
    }
    println!("\ntest result: {passed} passed; {failed} failed");
    failed
}

fn skip(why: &str) {
    println!("SKIPPED: netns: {why}");
    assert!(std::env::var_os("AFTR_NOTHING_SKIPPED").is_none(), "nothing may be skipped here");
}

type Cases = &'static [(&'static str, cases::Case)];

/// A small Internet, and what is played on it.
struct Lab {
    name: String,
    config: Config,
    accesses: [Access; 2],
    /// Which worker has which home is chance: it is built until it is like this.
    wanted: fn(&Topology) -> anyhow::Result<bool>,
    cases: Vec<Cases>,
}

impl Lab {
    fn build(&self) -> anyhow::Result<Topology> {
        for _ in 0..64 {
            let topology = Topology::build_over(self.config.clone(), self.accesses)?;
            if (self.wanted)(&topology)? {
                return Ok(topology);
            }
        }
        panic!("in none of 64 the homes' workers are those that are wanted");
    }
}

// A thousand connections at once are more than one home may open in a second.
const MANY: &str = "\n[nat.port-quota]\nnew-mappings-per-second = 100000\nnew-mappings-burst = 100000\n";

fn with(access_mtu: &str, rest: &str) -> Config {
    let text = CONFIGURATION.replace("access-mtu = 1540", access_mtu) + rest;
    Config::parse(&text).expect("the configuration")
}

fn labs() -> Vec<Lab> {
    let mut labs = Vec::new();
    for (name, device) in [("tun", ""), ("packet", PACKET)] {
        let lab = |config, accesses, cases| {
            let (name, cases) = (name.to_owned(), vec![cases]);
            Lab { name, config, accesses, wanted: |_| Ok(true), cases }
        };
        // A softwire of less than 1540 bytes makes large packets come in pieces.
        let wide = with("access-mtu = 1400", &[MANY, device].concat());
        labs.push(lab(wide, [Access::WIDE; 2], cases::ALL));
        labs.push(lab(with("access-mtu = 1500", device), paths::NARROW, paths::NARROW_CASES));
        labs.push(lab(with("access-mtu = 1500", device), paths::MIDDLE, paths::MIDDLE_CASES));
    }
    let lab = |name: &str, config, cases| {
        let (name, accesses) = (name.to_owned(), [Access::WIDE; 2]);
        Lab { name, config, accesses, wanted: |_| Ok(true), cases: vec![cases] }
    };
    let plain = with("access-mtu = 1540", "\n[dataplane]\noffload = false\n");
    labs.push(lab("tun without offload", plain, cases::WITHOUT_OFFLOAD));
    let packet = |rest: &str| with("access-mtu = 1540", &[PACKET, rest].concat());
    labs.push(lab("packet", packet(""), links::CASES));
    labs.push(lab("packet", packet("proxy-neighbours = true\n"), links::PROXY_CASES));
    let (with_strays, whole) = (workers::STRAY_CASES, workers::WHOLE_CASES);
    labs.extend(of_two_workers("tun", "\n[dataplane]\n", [with_strays, whole, whole]));
    labs.extend(of_two_workers("packet", PACKET, [workers::STEERED_CASES; 3]));
    labs
}

/// The same once more, with homes of different workers.
fn of_two_workers(name: &str, device: &str, ends: [Cases; 3]) -> Vec<Lab> {
    let config = |access_mtu: &str, rest: &str| workers::two(&with(access_mtu, &[rest, device].concat()));
    let lab = |config, accesses, wanted, cases: &[Cases]| {
        let name = format!("{name} with two workers");
        Lab { name, config, accesses, wanted, cases: cases.to_vec() }
    };
    let (apart, told) = (workers::homes_are_apart, workers::router_is_apart);
    vec![
        lab(
            config("access-mtu = 1400", MANY),
            [Access::WIDE; 2],
            apart,
            &[workers::CASES, cases::ALL, workers::RELOAD_CASES, ends[0]],
        ),
        lab(config("access-mtu = 1500", ""), paths::NARROW, apart, &[paths::NARROW_CASES, ends[1]]),
        lab(config("access-mtu = 1500", ""), paths::MIDDLE, told, &[paths::MIDDLE_CASES, ends[2]]),
    ]
}

/// What only root can have: a tun whose kernel knows the owner of each packet.
fn steered() -> Vec<Lab> {
    of_two_workers("tun, steered,", "\n[dataplane]\n", [workers::STEERED_CASES; 3])
}
