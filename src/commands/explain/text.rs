//! An explanation for people.

use std::fmt::Write as _;

use super::explanation::{Explanation, Outcome};
use super::words::count;
use crate::commands::describe;
use crate::commands::replay::{event_line, seconds};
use crate::wire::Side;

/// The explanation as text: the packet, its steps, the verdict.
#[must_use]
pub fn explanation_text(explanation: &Explanation) -> String {
    let mut text = String::new();
    write_all(&mut text, explanation).unwrap_or_default();
    text
}

fn write_all(text: &mut String, explanation: &Explanation) -> std::fmt::Result {
    let Explanation { number, at, side, packet, steps, told, leaves, events, .. } = explanation;
    let from = match side {
        Side::B4 => "from a B4",
        Side::Internet => "from the Internet",
    };
    writeln!(text, "packet {number}, {from}, at {} s", seconds(*at))?;
    writeln!(text, "  {}", describe(packet))?;
    if explanation.cut_off > 0 {
        let missing = count(explanation.cut_off, "octet");
        writeln!(text, "  cut short by the capture, {missing} are missing: capture with tcpdump -s 0")?;
    }
    writeln!(text)?;
    for (number, step) in (1..).zip(steps) {
        let mark = match step.outcome {
            Outcome::Passed => ' ',
            Outcome::Dropped => '✗',
            Outcome::Held => '…',
            Outcome::Taken => '✓',
        };
        writeln!(text, "{mark}{number:>3}  {:<18} {}", step.name, step.sentence)?;
        writeln!(text, "{:25}{}; {}", "", step.rule, step.source)?;
    }
    writeln!(text, "\nverdict  {}", explanation.verdict_words())?;
    if let Some(row) = explanation.otherwise {
        writeln!(text, "else     drop {}", row.name)?;
    }
    if let Some(row) = explanation.counter.or(explanation.otherwise) {
        writeln!(text, "means    {}", row.meaning)?;
        writeln!(text, "cure     {}", row.advice)?;
    }
    if let Some(told) = told {
        writeln!(text, "sender   {told}")?;
    }
    // What leaves instead of a packet that was dropped is what its sender is told.
    for (side, bytes) in leaves.iter().filter(|_| told.is_none()) {
        let to = match side {
            Side::B4 => "to a B4",
            Side::Internet => "to the Internet",
        };
        writeln!(text, "leaves   {to}: {}", describe(bytes))?;
    }
    events.iter().try_for_each(|event| writeln!(text, "event    {}", event_words(&event_line(event))))
}

/// An event without its time, which is the packet's.
pub(super) fn event_words(line: &str) -> &str {
    line.trim().split_once(' ').map_or("", |(_, words)| words)
}
