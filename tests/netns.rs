//! End to end: two B4s with the same private addresses, the daemon, and an Internet host, each in a
//! network namespace of its own, with the kernel's real sockets at both ends. Needs no root.
//!
//! A process must be alone to enter a user namespace, so this test has no harness: it plays its cases one
//! after the other.

#[path = "netns/cases.rs"]
mod cases;
#[path = "netns/paths.rs"]
mod paths;
#[path = "netns/links.rs"]
mod links;

use aftr::commands::lab::topology::{Access, CONFIGURATION, PACKET, Topology};
use aftr::engine::Config;

fn main() {
    if std::env::args().any(|argument| argument == "--list") {
        return;
    }
    let skip = |why: String| {
        println!("SKIPPED: netns: {why}");
        assert!(std::env::var_os("AFTR_NOTHING_SKIPPED").is_none(), "nothing may be skipped here");
        println!("test result: ok. 0 passed; 0 failed; {} ignored", count());
    };
    if let Err(error) = Topology::isolate() {
        return skip(format!("{error:#}"));
    }
    cases::raise_file_limit();
    let mut failed = 0;
    for lab in labs() {
        println!("{}", lab.name);
        let mut topology = match Topology::build_over(lab.config, lab.accesses) {
            Ok(topology) => topology,
            Err(error) => return skip(format!("{error:#}")),
        };
        for (name, case) in lab.cases {
            match case(&mut topology) {
                Ok(()) => println!("test {name} ... ok"),
                Err(error) => {
                    failed += 1;
                    println!("test {name} ... FAILED: {error:#}");
                }
            }
        }
    }
    println!("\ntest result: {} passed; {failed} failed", count() - failed);
    std::process::exit(i32::from(failed > 0));
}

/// A small Internet, and what is played on it.
struct Lab {
    name: &'static str,
    config: Config,
    accesses: [Access; 2],
    cases: &'static [(&'static str, cases::Case)],
}

fn labs() -> Vec<Lab> {
    let with = |access_mtu: &str, rest: &str| {
        let text = CONFIGURATION.replace("access-mtu = 1540", access_mtu) + rest;
        Config::parse(&text).expect("the configuration")
    };
    // A thousand connections at once are more than one home may open in a second.
    let many = "\n[nat.port-quota]\nnew-mappings-per-second = 100000\nnew-mappings-burst = 100000\n";
    let mut labs = Vec::new();
    for (name, device) in [("tun", ""), ("packet", PACKET)] {
        let lab = |config, accesses, cases| Lab { name, config, accesses, cases };
        // A softwire of less than 1540 bytes makes large packets come in pieces.
        let wide = with("access-mtu = 1400", &[many, device].concat());
        labs.push(lab(wide, [Access::WIDE; 2], cases::ALL));
        labs.push(lab(with("access-mtu = 1500", device), paths::NARROW, paths::NARROW_CASES));
        labs.push(lab(with("access-mtu = 1500", device), paths::MIDDLE, paths::MIDDLE_CASES));
    }
    labs.push(Lab {
        name: "tun without offload",
        config: with("access-mtu = 1540", "\n[dataplane]\noffload = false\n"),
        accesses: [Access::WIDE; 2],
        cases: cases::WITHOUT_OFFLOAD,
    });
    let packet = |rest: &str| with("access-mtu = 1540", &[PACKET, rest].concat());
    let lab = |config, cases| Lab { name: "packet", config, accesses: [Access::WIDE; 2], cases };
    labs.push(lab(packet(""), links::CASES));
    labs.push(lab(packet("proxy-neighbours = true\n"), links::PROXY_CASES));
    labs
}

fn count() -> usize {
    labs().iter().map(|lab| lab.cases.len()).sum()
}
