//! One record of the journal: 64 octets, whatever it says.
//!
//! A holding (ports of an external address, and who has them) starts and ends; everything else is a mark:
//! what a reader must know about the journal itself before it believes the holdings around it. Times are
//! milliseconds since 1970 (UTC), as the caller's clock says. Layout: `docs/journal.md`.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4};

use ipnet::Ipv6Net;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::engine::{Grant, MappingRecord, Protocol};

/// Octets of a record.
pub const RECORD_SIZE: usize = 64;

/// Milliseconds since 1970 (UTC).
pub type Millis = u64;

/// Ports of an external address, and who has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holding {
    /// External address.
    pub external: Ipv4Addr,
    /// First port.
    pub first_port: u16,
    /// Last port.
    pub last_port: u16,
    /// Number of the IP protocol; 0 = all.
    pub protocol: u8,
    /// The B4 whose packet asked for it.
    pub b4: Ipv6Addr,
    /// The subscriber is the prefix of this length around the B4.
    pub prefix_len: u8,
    /// `pool-id`
    pub pool_id: u32,
    /// Which AFTR or worker of a fleet wrote it.
    pub instance: u16,
    /// The host behind the B4; known for mappings only.
    pub internal: Option<SocketAddrV4>,
}

impl Holding {
    /// What a port-set grant gives.
    #[must_use]
    pub fn of_grant(grant: &Grant, pool_id: u32, instance: u16) -> Holding {
        Holding {
            external: grant.external,
            first_port: grant.first_port,
            last_port: grant.last_port,
            protocol: 0,
            b4: grant.b4,
            prefix_len: grant.subscriber.prefix_len(),
            pool_id,
            instance,
            internal: None,
        }
    }

    /// What a mapping uses; `prefix_len` is `subscriber-mask-v6`.
    #[must_use]
    pub fn of_mapping(mapping: &MappingRecord, prefix_len: u8, pool_id: u32, instance: u16) -> Holding {
        Holding {
            external: *mapping.external.ip(),
            first_port: mapping.external.port(),
            last_port: mapping.external.port(),
            protocol: number_of(mapping.protocol),
            b4: mapping.b4,
            prefix_len,
            pool_id,
            instance,
            internal: Some(mapping.internal),
        }
    }

    /// The subscriber's prefix.
    #[must_use]
    pub fn subscriber(&self) -> Ipv6Net {
        subscriber(self.b4, self.prefix_len)
    }
}

/// The IP protocol's number.
#[must_use]
pub const fn number_of(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Icmp => 1,
        Protocol::Tcp => 6,
        Protocol::Udp => 17,
    }
}

/// Why a holding ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum EndCause {
    /// Nothing used it any more.
    Idle = 1,
    /// An operator or a new configuration took it, or the AFTR was stopped.
    Admin = 2,
    /// The AFTR ended without a word; the end is the last that is known of it, give or take a second.
    Crash = 3,
    /// The subscriber's softwire moved to another B4 address: the next interval begins at the same moment.
    Migration = 4,
    /// Another AFTR took over.
    HighAvailability = 5,
    /// The record of its end is lost: the same ports were given anew.
    Lost = 6,
}

/// Why records are missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum GapCause {
    /// The queue to the writer was full.
    QueueFull = 1,
    /// The disk did not take them.
    WriteError = 2,
    /// What was written has changed: a checksum does not fit.
    Checksum = 3,
    /// Sequence numbers are missing.
    Missing = 4,
}

/// What became of the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum ClockChange {
    /// It was set: from `before` to the record's own time.
    Step = 1,
    /// From now on nobody vouches for it: not synchronised.
    Doubtful = 2,
    /// It is synchronised again.
    Trusted = 3,
}

/// One record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Record {
    /// A holding began. With `since` before `at` it is said again, after a gap.
    Started {
        /// When this was said.
        at: Millis,
        /// When it began.
        since: Millis,
        /// What.
        holding: Holding,
    },
    /// A holding ended.
    Ended {
        /// When.
        at: Millis,
        /// When it had begun.
        since: Millis,
        /// What.
        holding: Holding,
        /// Why.
        cause: EndCause,
    },
    /// A subscriber's softwire now ends at another B4 address (RFC 7785 section 4.3).
    Moved {
        /// When.
        at: Millis,
        /// The subscriber's prefix is of this length around `to`.
        prefix_len: u8,
        /// The B4 address until now.
        from: Ipv6Addr,
        /// The B4 address from now on.
        to: Ipv6Addr,
    },
    /// The writer lives.
    Alive {
        /// When.
        at: Millis,
    },
    /// The clock is not what it was.
    Clock {
        /// Its time now.
        at: Millis,
        /// Of a step: what it would have said.
        before: Millis,
        /// What happened.
        change: ClockChange,
    },
    /// Records are missing.
    Gap {
        /// Nothing before this is missing.
        from: Millis,
        /// Nothing after this is missing.
        to: Millis,
        /// Why.
        why: GapCause,
        /// How many, where that is known.
        lost: u64,
    },
    /// From now on this configuration holds (RFC 7422 section 3).
    Configuration {
        /// When.
        at: Millis,
        /// SHA-256 of its text, which is kept under this name.
        digest: [u8; 32],
    },
    /// A writer began; what is still open ended at `last_known`, by a crash.
    Opened {
        /// When.
        at: Millis,
        /// Time of the last record before; 0 in a new journal.
        last_known: Millis,
        /// The writer before was told to stop: nothing happened since.
        was_closed: bool,
    },
    /// A writer was told to stop; what is still open ends here.
    Closed {
        /// When.
        at: Millis,
    },
    /// After a gap, everything that is held has been said again: nothing else is.
    Complete {
        /// When.
        at: Millis,
    },
}

impl Record {
    /// The record's own time.
    #[must_use]
    pub const fn at(&self) -> Millis {
        match *self {
            Record::Started { at, .. }
            | Record::Ended { at, .. }
            | Record::Moved { at, .. }
            | Record::Alive { at }
            | Record::Clock { at, .. }
            | Record::Gap { to: at, .. }
            | Record::Configuration { at, .. }
            | Record::Opened { at, .. }
            | Record::Closed { at }
            | Record::Complete { at } => at,
        }
    }

    /// The earliest moment that it says something about.
    pub(crate) fn earliest(&self) -> Millis {
        match *self {
            Record::Opened { at, last_known, .. } if last_known > 0 => last_known.min(at),
            Record::Clock { at, before, .. } => at.min(before),
            Record::Gap { from, to, .. } => from.min(to),
            Record::Opened { .. }
            | Record::Started { .. }
            | Record::Ended { .. }
            | Record::Moved { .. }
            | Record::Alive { .. }
            | Record::Configuration { .. }
            | Record::Closed { .. }
            | Record::Complete { .. } => self.at(),
        }
    }

    /// The latest moment that it says something about.
    pub(crate) fn latest(&self) -> Millis {
        if let Record::Clock { at, before, .. } = *self { at.max(before) } else { self.at() }
    }

    /// Its octets.
    #[must_use]
    pub fn encode(&self) -> [u8; RECORD_SIZE] {
        let mut raw = Raw::new_zeroed();
        match *self {
            Record::Started { at, since, holding } => raw = Raw::of_holding(STARTED, at, since, &holding),
            Record::Ended { at, since, holding, cause } => {
                raw = Raw { cause: cause as u8, ..Raw::of_holding(ENDED, at, since, &holding) };
            }
            Record::Moved { at, prefix_len, from, to } => {
                (raw.kind, raw.prefix_len, raw.at) = (MOVED, prefix_len, U64::new(at));
                (raw.b4, raw.rest) = (from.octets(), to.octets());
            }
            Record::Alive { at } => (raw.kind, raw.at) = (ALIVE, U64::new(at)),
            Record::Clock { at, before, change } => {
                (raw.kind, raw.cause, raw.at, raw.since) =
                    (CLOCK, change as u8, U64::new(at), U64::new(before));
            }
            Record::Gap { from, to, why, lost } => {
                (raw.kind, raw.cause, raw.at, raw.since) = (GAP, why as u8, U64::new(to), U64::new(from));
                raw.b4[..8].copy_from_slice(&lost.to_le_bytes());
            }
            Record::Configuration { at, digest } => {
                (raw.kind, raw.at) = (CONFIGURATION, U64::new(at));
                raw.b4.copy_from_slice(&digest[..16]);
                raw.rest.copy_from_slice(&digest[16..]);
            }
            Record::Opened { at, last_known, was_closed } => {
                (raw.kind, raw.cause, raw.at, raw.since) =
                    (OPENED, u8::from(was_closed), U64::new(at), U64::new(last_known));
            }
            Record::Closed { at } => (raw.kind, raw.at) = (CLOSED, U64::new(at)),
            Record::Complete { at } => (raw.kind, raw.at) = (COMPLETE, U64::new(at)),
        }
        zerocopy::transmute!(raw)
    }

    /// The record that these octets are; nothing where they are none of this version.
    #[must_use]
    pub fn decode(octets: &[u8; RECORD_SIZE]) -> Option<Record> {
        let raw = Raw::ref_from_bytes(octets).ok()?;
        let (at, since) = (raw.at.get(), raw.since.get());
        Some(match raw.kind {
            STARTED => Record::Started { at, since, holding: raw.holding()? },
            ENDED => Record::Ended { at, since, holding: raw.holding()?, cause: end_cause(raw.cause)? },
            MOVED => Record::Moved {
                at,
                prefix_len: raw.prefix_len.min(128),
                from: raw.b4.into(),
                to: raw.rest.into(),
            },
            ALIVE => Record::Alive { at },
            CLOCK => Record::Clock { at, before: since, change: clock_change(raw.cause)? },
            GAP => {
                let lost = u64::from_le_bytes(*raw.b4.first_chunk()?);
                Record::Gap { from: since, to: at, why: gap_cause(raw.cause)?, lost }
            }
            CONFIGURATION => {
                let mut digest = [0; 32];
                digest[..16].copy_from_slice(&raw.b4);
                digest[16..].copy_from_slice(&raw.rest);
                Record::Configuration { at, digest }
            }
            OPENED => Record::Opened { at, last_known: since, was_closed: raw.cause != 0 },
            CLOSED => Record::Closed { at },
            COMPLETE => Record::Complete { at },
            _ => return None,
        })
    }
}

/// The subscriber around a B4.
pub(crate) fn subscriber(b4: Ipv6Addr, prefix_len: u8) -> Ipv6Net {
    Ipv6Net::new_assert(b4, prefix_len.min(128)).trunc()
}

pub(crate) const fn end_cause(octet: u8) -> Option<EndCause> {
    Some(match octet {
        1 => EndCause::Idle,
        2 => EndCause::Admin,
        3 => EndCause::Crash,
        4 => EndCause::Migration,
        5 => EndCause::HighAvailability,
        6 => EndCause::Lost,
        _ => return None,
    })
}

const fn gap_cause(octet: u8) -> Option<GapCause> {
    Some(match octet {
        1 => GapCause::QueueFull,
        2 => GapCause::WriteError,
        3 => GapCause::Checksum,
        4 => GapCause::Missing,
        _ => return None,
    })
}

const fn clock_change(octet: u8) -> Option<ClockChange> {
    Some(match octet {
        1 => ClockChange::Step,
        2 => ClockChange::Doubtful,
        3 => ClockChange::Trusted,
        _ => return None,
    })
}

const STARTED: u8 = 1;
const ENDED: u8 = 2;
const MOVED: u8 = 3;
const ALIVE: u8 = 4;
const CLOCK: u8 = 5;
const GAP: u8 = 6;
const CONFIGURATION: u8 = 7;
const OPENED: u8 = 8;
const CLOSED: u8 = 9;
const COMPLETE: u8 = 10;

/// The octets as they stand in the file, little endian.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Raw {
    kind: u8,
    cause: u8,
    protocol: u8,
    prefix_len: u8,
    instance: U16,
    /// 1: the internal address is there.
    flags: U16,
    at: U64,
    since: U64,
    external: U32,
    first_port: U16,
    last_port: U16,
    b4: [u8; 16],
    /// Of a holding: pool, internal address and port. Of a move: where to.
    rest: [u8; 16],
}

const HAS_INTERNAL: u16 = 1;

impl Raw {
    fn of_holding(kind: u8, at: Millis, since: Millis, holding: &Holding) -> Raw {
        let mut rest = [0; 16];
        rest[..4].copy_from_slice(&holding.pool_id.to_le_bytes());
        if let Some(internal) = holding.internal {
            rest[4..8].copy_from_slice(&internal.ip().octets());
            rest[8..10].copy_from_slice(&internal.port().to_le_bytes());
        }
        Raw {
            kind,
            cause: 0,
            protocol: holding.protocol,
            prefix_len: holding.prefix_len,
            instance: U16::new(holding.instance),
            flags: U16::new(if holding.internal.is_some() { HAS_INTERNAL } else { 0 }),
            at: U64::new(at),
            since: U64::new(since),
            external: U32::new(holding.external.to_bits()),
            first_port: U16::new(holding.first_port),
            last_port: U16::new(holding.last_port),
            b4: holding.b4.octets(),
            rest,
        }
    }

    #[inline]
    fn holding(&self) -> Option<Holding> {
        let internal = Ipv4Addr::from(*self.rest[4..].first_chunk::<4>()?);
        let port = u16::from_le_bytes(*self.rest[8..].first_chunk()?);
        let has_internal = self.flags.get() & HAS_INTERNAL != 0;
        Some(Holding {
            external: Ipv4Addr::from_bits(self.external.get()),
            first_port: self.first_port.get(),
            last_port: self.last_port.get(),
            protocol: self.protocol,
            b4: self.b4.into(),
            prefix_len: self.prefix_len.min(128),
            pool_id: u32::from_le_bytes(*self.rest.first_chunk()?),
            instance: self.instance.get(),
            internal: has_internal.then(|| SocketAddrV4::new(internal, port)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holding() -> Holding {
        Holding {
            external: Ipv4Addr::new(198, 51, 100, 7),
            first_port: 1024,
            last_port: 1535,
            protocol: 0,
            b4: "2001:db8:b4:100::1".parse().unwrap(),
            prefix_len: 56,
            pool_id: 3,
            instance: 2,
            internal: None,
        }
    }

    #[test]
    fn every_record_is_read_as_it_was_written() {
        let mapping =
            Holding { protocol: 17, internal: Some("192.168.1.9:5060".parse().unwrap()), ..holding() };
        let b4 = holding().b4;
        let records = [
            Record::Started { at: 5, since: 5, holding: holding() },
            Record::Started { at: 9, since: 5, holding: mapping },
            Record::Ended { at: 10, since: 5, holding: mapping, cause: EndCause::HighAvailability },
            Record::Moved { at: 11, prefix_len: 56, from: b4, to: "2001:db8::9".parse().unwrap() },
            Record::Alive { at: u64::MAX },
            Record::Clock { at: 1, before: 2, change: ClockChange::Step },
            Record::Gap { from: 3, to: 4, why: GapCause::Missing, lost: u64::MAX },
            Record::Configuration { at: 3, digest: std::array::from_fn(|at| at as u8) },
            Record::Opened { at: 7, last_known: 6, was_closed: true },
            Record::Closed { at: 8 },
            Record::Complete { at: 8 },
        ];
        for record in records {
            assert_eq!(Record::decode(&record.encode()), Some(record));
        }
        assert_eq!(Record::decode(&[0; RECORD_SIZE]), None);
    }

    #[test]
    fn the_layout_is_that_of_the_document() {
        let octets = Record::Started { at: 0x0102, since: 0x0304, holding: holding() }.encode();
        let start = [1, 0, 0, 56, 2, 0, 0, 0, 0x02, 0x01, 0, 0, 0, 0, 0, 0, 0x04, 0x03, 0, 0, 0, 0, 0, 0];
        assert_eq!(octets[..24], start);
        assert_eq!(octets[24..32], [7, 100, 51, 198, 0x00, 0x04, 0xff, 0x05]);
        assert_eq!(octets[32..48], holding().b4.octets());
        assert_eq!(octets[48..52], [3, 0, 0, 0]);
    }
}
