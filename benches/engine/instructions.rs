//! Instructions per packet, counted by callgrind: the same in every run, on every day, beside any load.

use std::process::Command;

use aftr::wire::Side;

use crate::measure;
use crate::packets::{self, Shape, Transport};

/// Says that this process is the one that is counted.
pub(crate) const CHILD: &str = "--count";
const PACKETS: usize = 64_000;
/// Making more mappings under callgrind takes minutes, and the path does not depend on their number.
const MOST_MAPPINGS: usize = 100_000;

/// From the B4 and from the Internet; none where valgrind is not installed, or the table is too large.
pub(crate) fn count(size: usize, shape: Shape) -> Option<(u64, u64)> {
    if size > MOST_MAPPINGS {
        return None;
    }
    Some((count_side(size, shape, "b4")?, count_side(size, shape, "internet")?))
}

fn count_side(size: usize, shape: Shape, side: &str) -> Option<u64> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--toggle-collect=*measure*judge*"])
        .arg(std::env::current_exe().ok()?)
        .args([CHILD, &size.to_string(), shape.transport.name(), &shape.length.to_string(), side])
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stderr);
    let total: u64 = text.lines().find_map(|line| line.split_once("Collected : ")?.1.trim().parse().ok())?;
    Some(total / PACKETS as u64)
}

/// What callgrind looks at.
pub(crate) fn run_child(arguments: &[String]) {
    let [size, transport, length, side] = arguments else { panic!("{CHILD} SIZE TRANSPORT LENGTH SIDE") };
    let size = size.parse().expect("a number of mappings");
    let transport = if transport == Transport::Tcp.name() { Transport::Tcp } else { Transport::Udp };
    let side = if side == "b4" { Side::B4 } else { Side::Internet };
    let shape = Shape { transport, length: length.parse().expect("a length") };
    let mut flows = packets::flows(size, shape);
    let (mut aftr, _) = measure::established(size, &mut flows);
    measure::nanoseconds(&mut aftr, &flows, &packets::shuffled(size), PACKETS, side);
}
