//! Linux's own B4, `ip6tnl`, against the daemon: not every kernel that tests run on has it, so a kernel that
//! has it is booted in a software emulation, with the B4, the daemon and both hosts in namespaces of that
//! guest. Needs no root, no KVM and no network but for the kernel's package, which is fetched once.
//!
//! | | |
//! |---|---|
//! | `kernel.rs` | Debian's cloud kernel, unpacked below `target/` |
//! | `image.rs` | the guest's first file system, of programs of this machine |
//! | `machine.rs` | the emulated machine and its console |
//! | `guest.sh` | the guest's network and what the cases do |

#[path = "kernel_b4/image.rs"]
mod image;
#[path = "kernel_b4/kernel.rs"]
mod kernel;
#[path = "kernel_b4/machine.rs"]
mod machine;

use std::path::PathBuf;
use std::time::Duration;

/// How long the guest may take from its first instruction to its last; it takes a fifth of it.
const PATIENCE: Duration = Duration::from_secs(180);

/// Linux's B4 as it is by default, with a Tunnel Encapsulation Limit in every packet (RFC 2473
/// section 4.1.1), and without.
const B4S: &[&str] = &["limit", "plain"];

/// What each B4 is put through.
const CASES: &[&str] = &[
    "ping",
    "bytes_of_the_softwire",
    "ping_by_the_b4",
    "ping_of_the_aftr",
    "ping_of_the_tunnel_mtu",
    "tcp_up",
    "tcp_down",
    "udp_1400_up",
    "udp_1472_down",
    "ping_in_fragments",
    "udp_8000_up",
    "udp_8000_down",
];

#[test]
fn the_kernels_b4_works_with_the_daemon() {
    if let Err(why) = image::tools().and_then(|()| machine::tools()).and_then(|()| kernel::tools()) {
        return skip(&why);
    }
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("kernel_b4");
    let kernel = match kernel::Kernel::fetch(&folder) {
        Ok(kernel) => kernel,
        Err(why) => return skip(&format!("{why:#}")),
    };
    let cases: Vec<String> =
        B4S.iter().flat_map(|b4| CASES.iter().map(move |case| format!("{b4} {case}"))).collect();
    let image = image::build(&folder, &kernel, &cases).expect("the guest's file system");
    let console = machine::run(&kernel.file, &image, PATIENCE).expect("the emulated machine");
    println!("{console}");
    let failed: Vec<String> = cases.iter().filter_map(|case| failure(&console, case)).collect();
    assert!(failed.is_empty(), "{} of {} cases:\n{}", failed.len(), cases.len(), failed.join("\n"));
    assert!(console.has_line("the AFTR ended with 0"), "the daemon did not end as it should");
}

fn failure(console: &machine::Console, case: &str) -> Option<String> {
    let name = case.replace(' ', "/");
    match console.verdict(&name) {
        Some(verdict) if verdict.split(' ').next() == Some("ok") => None,
        Some(verdict) => Some(format!("{name} {verdict}")),
        None => Some(format!("{name}: the guest says nothing about it")),
    }
}

fn skip(why: &str) {
    println!("SKIPPED: kernel_b4: {why}");
    assert!(std::env::var_os("AFTR_NOTHING_SKIPPED").is_none(), "nothing may be skipped here");
}
