//! End to end: two B4s with the same private addresses, the daemon, and an Internet host, each in a
//! network namespace of its own, with the kernel's real sockets at both ends. Needs no root.
//!
//! A process must be alone to enter a user namespace, so this test has no harness: it plays its cases one
//! after the other.

#[path = "netns/cases.rs"]
mod cases;

use aftr::commands::lab::topology::{CONFIGURATION, Topology};
use aftr::engine::Config;

fn main() {
    if std::env::args().any(|argument| argument == "--list") {
        return;
    }
    let skip = |why: String| {
        println!("SKIPPED: netns: {why}");
        assert!(std::env::var_os("AFTR_NOTHING_SKIPPED").is_none(), "nothing may be skipped here");
        println!("test result: ok. 0 passed; 0 failed; {} ignored", cases::ALL.len());
    };
    if let Err(error) = Topology::isolate() {
        return skip(format!("{error:#}"));
    }
    cases::raise_file_limit();
    // A thousand connections at once are more than one home may open in a second.
    // A softwire of less than 1540 bytes makes large packets come in pieces.
    let narrow = CONFIGURATION.replace("access-mtu = 1540", "access-mtu = 1400");
    let text = format!(
        "{narrow}\n[nat.port-quota]\nnew-mappings-per-second = 100000\nnew-mappings-burst = 100000\n"
    );
    let config = Config::parse(&text).expect("the configuration");
    let mut lab = match Topology::build(config) {
        Ok(lab) => lab,
        Err(error) => return skip(format!("{error:#}")),
    };
    let mut failed = 0;
    for (name, case) in cases::ALL {
        match case(&mut lab) {
            Ok(()) => println!("test {name} ... ok"),
            Err(error) => {
                failed += 1;
                println!("test {name} ... FAILED: {error:#}");
            }
        }
    }
    println!("\ntest result: {} passed; {failed} failed", cases::ALL.len() - failed);
    std::process::exit(i32::from(failed > 0));
}
