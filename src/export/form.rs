//! What a target is sent, whatever it speaks: messages or lines.

use std::time::Duration;

use aftr_config::{Collector, Log, Receiver, Transport};

use super::instance::{Instance, PoolFacts};
use super::loss::Loss;
use super::message::{Encoder, MOST_OCTETS};
use super::record::Record;
use super::syslog::Lines;
use super::time::Now;

/// Octets of a message on a path of unknown MTU, by IPv4 and IPv6: packets of 512 octets (RFC 7011 section 10.3.3) and
/// of 1280, which every path takes (RFC 8200 section 5).
pub(super) const SAFE_DATAGRAM: [usize; 2] = [512 - 28, 1280 - 48];

/// How a target is spoken to.
pub(super) enum Form {
    /// IPFIX or NetFlow.
    Messages {
        encoder: Encoder,
        log: Log,
        /// Which collector this is, from 1: losses are told by it.
        number: u32,
        /// What was told of losses.
        told: u64,
        /// Pools whose names were told.
        named: Vec<PoolFacts>,
    },
    /// Syslog, with the length before each line where it is a stream (RFC 6587 section 3.4.1).
    Lines {
        lines: Lines,
        is_stream: bool,
        /// What was told of the time.
        told: Quality,
    },
}

/// Whether the time is synchronised, and within how many microseconds.
type Quality = Option<(bool, Option<u64>)>;

/// What goes with records: who we are, and how good our time is.
pub(super) struct Surroundings<'a> {
    pub(super) instance: &'a Instance,
    pub(super) loss: Loss,
    pub(super) quality: Quality,
}

impl Form {
    pub(super) fn of_collector(collector: &Collector, number: u32, instance: &Instance) -> Form {
        let most_octets = match collector.target.transport {
            Transport::Tcp => MOST_OCTETS,
            Transport::Udp => SAFE_DATAGRAM[usize::from(collector.target.address.is_ipv6())],
        };
        let encoder = Encoder::new(collector.format, collector.nel, instance.nat_instance_id, most_octets);
        Form::Messages { encoder, log: collector.target.log, number, told: 0, named: Vec::new() }
    }

    pub(super) fn of_receiver(receiver: &Receiver, instance: &Instance) -> Form {
        let mut lines = Lines::new(instance, receiver.enterprise_number);
        if let Some(host_name) = &receiver.host_name {
            lines = lines.with_host_name(host_name);
        }
        Form::Lines { lines, is_stream: receiver.target.is_tcp(), told: None }
    }

    /// What a session begins with, and what datagrams are preceded by from time to time.
    pub(super) fn opening(&mut self, about: &Surroundings<'_>, now: Now) -> Vec<Vec<u8>> {
        match self {
            Form::Messages { encoder, log, named, .. } => {
                let mut messages = encoder.templates(*log, now);
                named.clear();
                messages.extend(self.status(about, now));
                messages
            }
            Form::Lines { .. } => self.status(about, now),
        }
    }

    /// How much was lost so far, and the names of pools that are not those that were told; of syslog, how good the
    /// time is.
    pub(super) fn status(&mut self, about: &Surroundings<'_>, now: Now) -> Vec<Vec<u8>> {
        match self {
            Form::Messages { encoder, number, told, named, .. } => {
                let mut messages = Vec::new();
                if *named != about.instance.pools {
                    named.clone_from(&about.instance.pools);
                    messages = encoder.pool_names(about.instance, now);
                }
                *told = about.loss.total();
                let mut message = Vec::new();
                encoder.reliability(*number, &about.loss, now, &mut message);
                messages.extend((!message.is_empty()).then_some(message));
                messages
            }
            Form::Lines { lines, is_stream, told } => {
                *told = about.quality;
                let mut octets = Vec::new();
                frame(&lines.time_quality(now.unix_millis, about.quality), *is_stream, &mut octets);
                vec![octets]
            }
        }
    }

    /// How often that is said (RFC 7011 section 4.3: regularly).
    pub(super) fn status_interval(&self) -> Duration {
        match self {
            Form::Messages { .. } => Duration::from_secs(60),
            Form::Lines { .. } => Duration::from_secs(86_400),
        }
    }

    /// Whether it is not what was said last.
    pub(super) fn has_news(&self, about: &Surroundings<'_>) -> bool {
        match self {
            Form::Messages { told, named, .. } => {
                about.loss.total() != *told || *named != about.instance.pools
            }
            Form::Lines { told, .. } => about.quality != *told,
        }
    }

    /// A new session begins: sequences do too.
    pub(super) fn restart(&mut self) {
        if let Form::Messages { encoder, .. } = self {
            encoder.restart();
        }
    }

    /// The number of the next message or record.
    pub(super) fn sequence(&self) -> u32 {
        match self {
            Form::Messages { encoder, .. } => encoder.sequence,
            Form::Lines { .. } => 0,
        }
    }

    /// Takes back what was written since: it was not sent.
    pub(super) fn rewind(&mut self, sequence: u32) {
        if let Form::Messages { encoder, .. } = self {
            encoder.sequence = sequence;
        }
    }

    /// Appends one message, or one line, and says how many records are in it.
    pub(super) fn write(&mut self, records: &[Record], now: Now, out: &mut Vec<u8>) -> usize {
        match self {
            Form::Messages { encoder, .. } => encoder.records(records, now, out),
            Form::Lines { lines, is_stream, .. } => {
                let Some(record) = records.first() else { return 0 };
                frame(&lines.line(record), *is_stream, out);
                1
            }
        }
    }

    /// Datagrams are no larger than this from now on. Lines are always short enough.
    pub(super) fn limit(&mut self, octets: usize) {
        if let Form::Messages { encoder, .. } = self {
            encoder.most_octets = octets.min(MOST_OCTETS);
        }
    }
}

fn frame(line: &str, is_stream: bool, out: &mut Vec<u8>) {
    if is_stream {
        out.extend(format!("{} ", line.len()).as_bytes());
    }
    out.extend(line.as_bytes());
}
