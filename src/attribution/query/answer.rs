//! An answer, with everything that it rests on (ATT-4).

use std::fmt;

use ipnet::Ipv6Net;
use serde_json::{Value, json};

use super::question::Question;
use crate::attribution::digest::Digest;
use crate::attribution::ledger::Interval;
use crate::attribution::moment::time_text;
use crate::attribution::record::{EndCause, GapCause, Millis, Record};

/// What can be said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// One subscriber, and no other.
    Unique(Ipv6Net),
    /// Several: within the asker's uncertainty the ports changed hands.
    Ambiguous(Vec<Ipv6Net>),
    /// Nobody.
    None,
    /// The port is not known: all who shared the address. None of them need be the one.
    Broad(Vec<Ipv6Net>),
    /// It cannot be said.
    Unknown(Reason),
}

/// Why something cannot be said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Records of that time are missing.
    LogGap(LogGap),
    /// The retention time is over, or the journal begins later.
    BeforeRetention,
    /// The clock of that time cannot be believed.
    ClockDoubt,
}

/// Which records are missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogGap {
    /// The journal says so itself.
    Lost(GapCause),
    /// The AFTR ended without a word; what it did before it began again is not known.
    Down,
    /// The end of this holding is missing.
    Unconfirmed,
    /// Records were lost before, perhaps that of a start: nobody can be excluded.
    Blind,
    /// The journal ends before.
    End,
    /// The fleet's tables do not have that time of the AFTR, or not yet.
    NotShipped,
    /// What the fleet's tables have of that time is not what was shipped.
    Differs,
    /// The text of the configuration that held is not there, or has changed.
    Configuration,
}

/// Where a piece of evidence is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In the log; its last batch has this hash.
    Log(Digest),
    /// In a sealed partition.
    Partition {
        /// Its name.
        name: String,
        /// SHA-256 of its file.
        hash: Digest,
        /// Of a fleet, whose partition it is.
        aftr: Option<String>,
    },
    /// It follows from a configuration (RFC 7422).
    Configuration(Digest),
}

/// One interval that the answer rests on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// What was held, by whom, from when to when.
    pub interval: Interval,
    /// Where that is written.
    pub place: Place,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// What was asked.
    pub question: Question,
    /// What can be said.
    pub verdict: Verdict,
    /// What it rests on; of an unknown, what is known all the same.
    pub evidence: Vec<Evidence>,
    /// Last sign of life of the journal.
    pub known_until: Millis,
}

/// Stands with each answer without a port (Europol, note 5127/17).
pub const BROAD: &str = "without the port every subscriber who shared the address is named; most of them have \
                         nothing to do with it. Ask whoever logged the address for the source port and the UTC \
                         second (RFC 6302)";

impl Evidence {
    /// SHA-256 of the interval as two records: its start and, if it has one, its end.
    #[must_use]
    pub fn hash(&self) -> Digest {
        let Interval { holding, start, since, end, start_record, end_record, .. } = self.interval;
        let started = Record::Started { at: start, since, holding }.encode();
        let ended =
            end.map(|(at, cause)| Record::Ended { at, since, holding, cause }.encode()).unwrap_or([0; 64]);
        Digest::of(&[&start_record.to_le_bytes(), &started, &end_record.to_le_bytes(), &ended])
    }

    fn to_json(&self) -> Value {
        let Interval { holding, start, since, end, confirmed_until, start_record, end_record, .. } =
            self.interval;
        let place = match &self.place {
            Place::Log(chain) => json!({ "log": { "chain": chain.to_string() } }),
            Place::Partition { name, hash, aftr: None } => {
                json!({ "partition": name, "sha-256": hash.to_string() })
            }
            Place::Partition { name, hash, aftr: Some(aftr) } => {
                json!({ "partition": name, "sha-256": hash.to_string(), "aftr": aftr })
            }
            Place::Configuration(digest) => json!({ "configuration": digest.to_string() }),
        };
        json!({
            "subscriber": holding.subscriber(),
            "b4": (!self.is_computed()).then_some(holding.b4),
            "internal": holding.internal,
            "external-address": holding.external,
            "ports": [holding.first_port, holding.last_port],
            "protocol": holding.protocol,
            "pool-id": holding.pool_id,
            "instance": holding.instance,
            "held-since": (since != start).then(|| time_text(since)),
            "start": time_text(start),
            "end": end.map(|(end, _)| time_text(end)),
            "end-cause": end.map(|(_, cause)| cause.name()),
            "end-plus-minus-ms": end.map(|(_, cause)| if cause == EndCause::Crash { 1000 } else { 0 }),
            "certain-until": confirmed_until.map(time_text),
            "clock-doubt": self.interval.start_doubtful || self.interval.end_doubtful,
            "records": [start_record, end_record],
            "hash": self.hash().to_string(),
            "found-in": place,
        })
    }

    fn is_computed(&self) -> bool {
        matches!(self.place, Place::Configuration(_))
    }
}

impl Verdict {
    /// Its name, for machines.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Verdict::Unique(_) => "unique",
            Verdict::Ambiguous(_) => "ambiguous",
            Verdict::None => "none",
            Verdict::Broad(_) => "broad",
            Verdict::Unknown(_) => "unknown",
        }
    }

    /// The subscribers that it names.
    #[must_use]
    pub fn subscribers(&self) -> &[Ipv6Net] {
        match self {
            Verdict::Unique(subscriber) => std::slice::from_ref(subscriber),
            Verdict::Ambiguous(subscribers) | Verdict::Broad(subscribers) => subscribers,
            Verdict::None | Verdict::Unknown(_) => &[],
        }
    }
}

impl Reason {
    /// Its name, for machines.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Reason::LogGap(_) => "log-gap",
            Reason::BeforeRetention => "before-retention",
            Reason::ClockDoubt => "clock-doubt",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Reason::LogGap(LogGap::Lost(GapCause::QueueFull)) => {
                "records of that time were lost: the queue was full"
            }
            Reason::LogGap(LogGap::Lost(GapCause::WriteError)) => {
                "records of that time were lost: the disk did not take them"
            }
            Reason::LogGap(LogGap::Lost(GapCause::Checksum)) => {
                "records of that time have changed on the disk: their checksum does not fit"
            }
            Reason::LogGap(LogGap::Lost(GapCause::Missing)) => "records of that time are missing",
            Reason::LogGap(LogGap::Down) => "the AFTR had ended without a word and not begun again",
            Reason::LogGap(LogGap::Unconfirmed) => {
                "records were lost after this began, its end may be among them"
            }
            Reason::LogGap(LogGap::Blind) => {
                "no record names a holder, but records were lost before and one may be among them"
            }
            Reason::LogGap(LogGap::End) => "the journal ends before that time",
            Reason::LogGap(LogGap::NotShipped) => "the records of that time are not shipped, or not yet",
            Reason::LogGap(LogGap::Differs) => {
                "what the fleet's tables have of that time is not what was shipped: `aftr journal ship --verify` \
                 says more"
            }
            Reason::LogGap(LogGap::Configuration) => {
                "the configuration of that time is not there, or was changed"
            }
            Reason::BeforeRetention => "the journal begins after that time",
            Reason::ClockDoubt => "the clock of the AFTR was set, or not synchronised, at that time",
        })
    }
}

impl EndCause {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            EndCause::Idle => "idle",
            EndCause::Admin => "admin",
            EndCause::Crash => "crash",
            EndCause::Migration => "migration",
            EndCause::HighAvailability => "high-availability",
            EndCause::Lost => "lost",
        }
    }
}

impl Answer {
    /// For machines, and for the hash that the record of queries keeps.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let Question { address, port, time, uncertainty, protocol } = self.question;
        let reason = match self.verdict {
            Verdict::Unknown(reason) => Some(reason),
            Verdict::Unique(_) | Verdict::Ambiguous(_) | Verdict::None | Verdict::Broad(_) => None,
        };
        json!({
            "address": address,
            "port": port,
            "protocol": protocol,
            "time": time_text(time),
            "uncertainty-ms": uncertainty,
            "verdict": self.verdict.name(),
            "reason": reason.map(Reason::name),
            "why": reason.map(|reason| reason.to_string()),
            "caveat": matches!(self.verdict, Verdict::Broad(_)).then_some(BROAD),
            "subscribers": self.verdict.subscribers(),
            "evidence": self.evidence.iter().map(Evidence::to_json).collect::<Vec<_>>(),
            "journal-known-until": time_text(self.known_until),
            "software": concat!("aftr ", env!("CARGO_PKG_VERSION")),
        })
    }
}
