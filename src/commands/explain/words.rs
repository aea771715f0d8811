//! Values in words.

use std::fmt::Display;
use std::time::Duration;

pub(super) use crate::commands::describe::protocol_name;
use crate::commands::describe::tcp_flags;
use crate::engine::MappingView;

/// The first few of a list.
pub(super) fn list(items: impl IntoIterator<Item = impl Display>) -> String {
    const MOST: usize = 4;
    let words: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    match words.len() {
        0 => "none is configured".to_owned(),
        count if count > MOST => format!("{} and {} more", words[..MOST].join(", "), count - MOST),
        _ => words.join(", "),
    }
}

/// So many of something.
pub(super) fn count(number: usize, one: &str) -> String {
    if number == 1 { format!("1 {one}") } else { format!("{number} {one}s") }
}

/// Whole seconds, or milliseconds below one.
pub(super) fn duration(time: Duration) -> String {
    if time < Duration::from_secs(1) {
        format!("{} ms", time.as_millis())
    } else {
        format!("{} s", time.as_secs())
    }
}

/// DSCP and ECN of a type of service or a traffic class.
pub(super) fn class(octet: u8) -> String {
    let ecn = ["Not-ECT", "ECT(1)", "ECT(0)", "CE"][usize::from(octet & 3)];
    format!("DSCP {} {ecn}", octet >> 2)
}

/// TCP flags, in the order of a conversation.
pub(super) fn flags(bits: u8) -> String {
    let set: Vec<&str> = tcp_flags(bits).collect();
    if set.is_empty() { "no flags".to_owned() } else { set.join(" ") }
}

/// Both ends of a mapping.
pub(super) fn mapping(mapping: &MappingView) -> String {
    format!("{}/{} ⇄ {}", mapping.internal, protocol_name(mapping.protocol), mapping.external)
}
