//! Several workers at one device, in network namespaces: the kernel brings each packet to its owner's queue.
//!
//! Only root may load extended BPF, so the tun is tried as root first, then once more in a user namespace,
//! where it must do without; packet sockets need no privilege there. A process must be alone to enter a user
//! namespace, so this test has no harness: it starts itself again for that part.

#[path = "steering/flows.rs"]
mod flows;
#[path = "steering/tun.rs"]
mod tun;
#[path = "steering/fanout.rs"]
mod fanout;

use std::process::Command;

use aftr::io::sys::namespace::{NetNamespace, enter_new_user_namespace};

type Case = (&'static str, fn());

const IN_USER_NAMESPACE: &str = "in-user-namespace";
const AS_ROOT: &[Case] = &[
    ("the_owner_s_queue_of_a_tun_gets_each_packet", tun::owners_get_each_packet),
    ("what_several_queues_of_a_tun_write_leaves_whole_and_in_order", tun::all_queues_write),
];
const WITHOUT_PRIVILEGE: &[Case] = &[
    ("without_bpf_a_tun_loses_nothing", tun::nothing_is_lost_without_bpf),
    ("the_owner_s_ring_gets_each_frame", fanout::owners_get_each_frame),
    ("rings_opened_amid_traffic_double_nothing", fanout::opened_amid_traffic),
    ("rings_have_the_same_owners_after_an_interface_was_down", fanout::after_an_interface_was_down),
    ("two_groups_at_an_interface_do_not_share", fanout::two_groups_do_not_share),
];

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if arguments.iter().any(|argument| argument == "--list") {
        return;
    }
    if Command::new("ip").arg("-V").output().is_err() {
        return skip("`ip` is missing");
    }
    let failed = if arguments.iter().any(|argument| argument == IN_USER_NAMESPACE) {
        match enter_new_user_namespace() {
            Ok(()) => play(WITHOUT_PRIVILEGE),
            Err(error) => return skip(&format!("no user namespace: {error}")),
        }
    } else {
        let failed = if rustix::process::geteuid().is_root() && NetNamespace::new().is_ok() {
            play(AS_ROOT)
        } else {
            skip("extended BPF is tried only by root");
            0
        };
        let this = std::env::current_exe().expect("this program");
        let status = Command::new(this).arg(IN_USER_NAMESPACE).status().expect("this program again");
        failed + usize::from(!status.success())
    };
    std::process::exit(i32::from(failed > 0));
}

fn play(cases: &[Case]) -> usize {
    let mut failed = 0;
    for (name, case) in cases {
        let worked = NetNamespace::new().and_then(|namespace| namespace.run(case)).is_ok();
        println!("test {name} ... {}", if worked { "ok" } else { "FAILED" });
        failed += usize::from(!worked);
    }
    println!("\ntest result: {} passed; {failed} failed", cases.len() - failed);
    failed
}

fn skip(why: &str) {
    println!("SKIPPED: steering: {why}");
    assert!(std::env::var_os("AFTR_NOTHING_SKIPPED").is_none(), "nothing may be skipped here");
}

/// Makes a link between two interfaces of this namespace, both up.
fn link(one: &str, other: &str) {
    ip(&format!("link add {one} type veth peer name {other}"));
    ip(&format!("link set {one} up"));
    ip(&format!("link set {other} up"));
}

fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split(' ')).status().expect("iproute2");
    assert!(status.success(), "ip {arguments}");
}
