//! An answer in words.

use std::fmt::Write as _;

use crate::attribution::query::{Answer, BROAD, Evidence, Place, Verdict};
use crate::attribution::{EndCause, time_text};

pub(super) fn answer_text(answer: &Answer) -> String {
    let mut text = format!("{}\n", sentence(answer));
    if let Verdict::Unknown(reason) = answer.verdict {
        let _ = writeln!(text, "why        {reason}");
        if !answer.evidence.is_empty() {
            text += "what is known all the same, and proves nothing about that moment:\n";
        }
    }
    if matches!(answer.verdict, Verdict::Broad(_)) {
        let _ = writeln!(text, "caution    {BROAD}");
    }
    for evidence in &answer.evidence {
        describe(&mut text, evidence);
    }
    let _ = writeln!(text, "\nthe journal is known until {}", time_text(answer.known_until));
    text
}

fn sentence(answer: &Answer) -> String {
    let question = &answer.question;
    let port = question.port.map_or("an unknown port".to_owned(), |port| format!("port {port}"));
    let what = format!(
        "{} {port} at {} ± {} s",
        question.address,
        time_text(question.time),
        question.uncertainty as f64 / 1000.0
    );
    match &answer.verdict {
        Verdict::Unique(subscriber) => format!("unique: {what} was held by {subscriber}"),
        Verdict::Ambiguous(all) => format!("ambiguous: {what} was held by {} subscribers", all.len()),
        Verdict::None => format!("none: {what} was held by nobody"),
        Verdict::Broad(all) if all.len() == 1 => format!("broad: {what} may have been 1 subscriber"),
        Verdict::Broad(all) => format!("broad: {what} may have been any of {} subscribers", all.len()),
        Verdict::Unknown(reason) => format!("unknown ({}): {what}", reason.name()),
    }
}

fn describe(text: &mut String, evidence: &Evidence) {
    let interval = &evidence.interval;
    let holding = &interval.holding;
    let _ = writeln!(text, "\nsubscriber {}", holding.subscriber());
    if let Place::Configuration(digest) = &evidence.place {
        let (first, last) = (holding.first_port, holding.last_port);
        let _ =
            writeln!(text, "ports      {} {first}-{last}, its own at all times (RFC 7422)", holding.external);
        let _ = writeln!(text, "by         configuration {digest}");
        return;
    }
    let _ = writeln!(text, "B4         {}", holding.b4);
    if let Some(internal) = holding.internal {
        let _ = writeln!(text, "host       {internal}");
    }
    let protocol = match holding.protocol {
        0 => "all protocols".to_owned(),
        number => format!("protocol {number}"),
    };
    let (first, last) = (holding.first_port, holding.last_port);
    let _ = writeln!(text, "ports      {} {first}-{last}, {protocol}", holding.external);
    let _ = writeln!(text, "from       {}", time_text(interval.start));
    let _ = match interval.end {
        None => writeln!(text, "to         it lasts, as far as this was looked at"),
        Some((end, EndCause::Crash)) => {
            writeln!(text, "to         {} ± 1 s (the AFTR ended without a word)", time_text(end))
        }
        Some((end, cause)) => writeln!(text, "to         {} ({})", time_text(end), cause.name()),
    };
    if let Some(until) = interval.confirmed_until {
        let _ = writeln!(text, "certain    until {} only: records are missing after that", time_text(until));
    }
    if interval.start_doubtful || interval.end_doubtful {
        text.push_str("clock      not synchronised when this was written\n");
    }
    let _ = match (interval.end_record, interval.end) {
        (0, None) => writeln!(text, "records    {}, no end yet", interval.start_record),
        (0, Some(_)) => writeln!(text, "records    {}, none of its end", interval.start_record),
        (end, _) => writeln!(text, "records    {}-{end}", interval.start_record),
    };
    let _ = writeln!(text, "hash       {}", evidence.hash());
    let _ = match &evidence.place {
        Place::Log(chain) => writeln!(text, "in         the log, whose last batch has the hash {chain}"),
        Place::Partition { name, hash, aftr: None } => {
            writeln!(text, "in         {name}.parquet, SHA-256 {hash}")
        }
        Place::Partition { name, hash, aftr: Some(aftr) } => {
            writeln!(text, "in         {name}.parquet of {aftr}, SHA-256 {hash}")
        }
        Place::Configuration(_) => Ok(()),
    };
}
