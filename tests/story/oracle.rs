//! What holds for every packet that leaves, whatever the story: lengths, checksums, TTL, content.

use aftr::commands::replay::{Cause, Entry};
use aftr::engine::{TtlBy, Verdict};
use aftr::wire::Side;

use super::fields::{Fields, data, fields, inner_of};

/// What is wrong with the output of `entry`.
pub(crate) fn problems(entry: &Entry, ttl: TtlBy) -> Vec<String> {
    let Some((side, output)) = &entry.output else { return Vec::new() };
    let mut wrong = Vec::new();
    let out = fields(output);
    let mut must = |holds: bool, what: &str| {
        if !holds {
            wrong.push(what.to_owned());
        }
    };
    let version = output.first().map(|first| first >> 4);
    must(version == Some(if *side == Side::B4 { 6 } else { 4 }), "IPv6 leaves to a B4, IPv4 to the Internet");
    if *side == Side::B4 {
        must(number(&out, "outer-payload") == output.len() as u64 - 40, "IPv6 payload length");
        must(number(&out, "outer-hop-limit") > 0, "outer hop limit");
    }
    if let Some(inner) = inner_of(output) {
        must(number(&out, "len") == inner.len() as u64, "IPv4 total length");
        must(number(&out, "ttl") > 0, "INV-4: TTL 0 left");
        must(out["header-checksum"] == "good", "INV-5: IPv4 header checksum");
    }
    match &entry.cause {
        // What was put together or cut is looked at by its story.
        Cause::Packet { bytes, verdict: Verdict::ToInternet | Verdict::ToB4, .. }
            if out.contains_key("outer-part") || bytes.get(6) == Some(&44) || is_cut(bytes, &out) => {}
        Cause::Packet { bytes, side: from, verdict: Verdict::ToInternet | Verdict::ToB4, .. } => {
            let hairpinned = *from == Side::B4 && *side == Side::B4;
            let cost = u64::from(ttl == TtlBy::Engine || hairpinned);
            transit(bytes, output, cost, &mut must);
        }
        Cause::Packet { .. } | Cause::Time | Cause::Expiry { .. } => {
            let is_piece = out.contains_key("part") || out.contains_key("outer-part");
            must(is_piece || out["checksum"] == "good", "what we make ourselves has a right checksum");
        }
    }
    wrong
}

/// Whether a packet left in pieces that it did not come in.
fn is_cut(input: &[u8], out: &Fields) -> bool {
    let came = inner_of(input).map(fields).unwrap_or_default();
    out.contains_key("part") && came.get("part") != out.get("part")
}

/// A packet that crossed.
fn transit(input: &[u8], output: &[u8], cost: u64, must: &mut impl FnMut(bool, &str)) {
    let (before, after) = (inner_in(input), inner_of(output).unwrap_or_default());
    let (came, left) = (fields(&before), fields(after));
    must(number(&came, "ttl") == number(&left, "ttl") + cost, "INV-4: TTL goes down by one");
    must(came["checksum"] == left["checksum"], "INV-5: a transport checksum is as good as it was");
    must(came["df"] == left["df"], "DF is left alone");
    must(number(&came, "len") == number(&left, "len"), "the packet keeps its length");
    must(came["options"] == left["options"], "options are left alone");
    let is_piece = left.contains_key("part");
    must(is_piece || data(&before) == data(after), "what the packet carries is left alone");
    must(came.get("part") == left.get("part"), "a piece stays the same piece");
}

/// The IPv4 packet as it was meant: without outer headers, and without what trails.
fn inner_in(input: &[u8]) -> Vec<u8> {
    let mut at = 0;
    if input[0] >> 4 == 6 {
        let mut next = input[6];
        at = 40;
        while next != 4 {
            next = input[at];
            at += (usize::from(input[at + 1]) + 1) * 8;
        }
    }
    let total = usize::from(u16::from_be_bytes([input[at + 2], input[at + 3]]));
    input[at..at + total].to_vec()
}

fn number(fields: &Fields, name: &str) -> u64 {
    fields.get(name).and_then(|text| text.parse().ok()).unwrap_or(u64::MAX / 2)
}
