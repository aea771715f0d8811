//! Records as messages of RFC 7011 (IPFIX) or RFC 3954 (NetFlow v9): a header, then sets. Both have the same
//! elements and templates; they differ in the header, in the numbers of the template sets, and in what the
//! sequence counts.

use aftr_config::{Format, Log};

use super::fields::Fields;
use super::instance::Instance;
use super::loss::Loss;
use super::record::Record;
use super::template::{self, TEMPLATES, Template};
use super::time::Now;

/// Octets of a message's header.
pub(super) const IPFIX_HEADER: usize = 16;
const NETFLOW_HEADER: usize = 20;
const SET_HEADER: usize = 4;
/// Longest message of IPFIX: its length has 16 bits; smaller ones let a collector decode sooner.
pub(super) const MOST_OCTETS: usize = 32_768;

/// Writes messages, and counts what their headers say.
#[derive(Debug, Clone)]
pub struct Encoder {
    format: Format,
    nel: bool,
    domain: u32,
    /// IPFIX: data records of this session. NetFlow: messages.
    pub(super) sequence: u32,
    /// Milliseconds of the monotonic clock when it was made: NetFlow tells its age.
    started: Option<u64>,
    /// Time of the last message of the session, in seconds: it never goes back where the wall clock does (RFC 7011
    /// section 8.2).
    exported: u32,
    /// Octets of a message, at most.
    pub(super) most_octets: usize,
}

impl Encoder {
    /// An encoder whose session begins. `most_octets` is the largest message.
    #[must_use]
    pub fn new(format: Format, nel: bool, domain: u32, most_octets: usize) -> Encoder {
        let most_octets = most_octets.min(MOST_OCTETS);
        Encoder { format, nel, domain, sequence: 0, started: None, exported: 0, most_octets }
    }

    /// Begins another session: the sequence starts at 0 (RFC 7011 section 3.1).
    pub fn restart(&mut self) {
        (self.sequence, self.exported) = (0, 0);
    }

    /// Appends one message with as many records as fit, and says how many that are.
    pub fn records(&mut self, records: &[Record], now: Now, out: &mut Vec<u8>) -> usize {
        let start = self.begin(out);
        let mut set: Option<(u16, usize)> = None;
        let mut written = 0;
        for record in records {
            let id = record.template();
            let Some(template) = Template::find(id) else { break };
            let is_new_set = set.is_none_or(|(open, _)| open != id);
            let padded = (template.octets() + 3) & !3;
            let needed = padded + if is_new_set { SET_HEADER + 3 } else { 0 };
            if out.len() - start + needed > self.most_octets && written > 0 {
                break;
            }
            if is_new_set {
                end_set(&mut set, out);
                set = Some((id, begin_set(id, out)));
            }
            let fields = Fields::of(record, self.nel, self.domain);
            for &element in template.fields {
                fields.put(element, out);
            }
            written += 1;
        }
        end_set(&mut set, out);
        self.finish(start, written as u32, written as u32, now, out);
        written
    }

    /// The templates of what is logged, each message as large as allowed.
    #[must_use]
    pub fn templates(&mut self, log: Log, now: Now) -> Vec<Vec<u8>> {
        let is_ipfix = self.format == Format::Ipfix;
        let is_sent = |template: &&Template| match template.id {
            template::MAPPING => log == Log::Mappings,
            template::SESSION | template::ADDRESS => false,
            // Collectors of NetFlow know no thresholds and limits; its options have other scopes, and no strings.
            id => is_ipfix || id == template::PORT_SET,
        };
        let mut messages = Vec::new();
        let mut rest: Vec<&Template> = TEMPLATES.iter().filter(is_sent).collect();
        while !rest.is_empty() {
            let mut message = Vec::new();
            let written = self.some_templates(&rest, now, &mut message);
            rest.drain(..written);
            messages.push(message);
        }
        messages
    }

    fn some_templates(&mut self, templates: &[&Template], now: Now, out: &mut Vec<u8>) -> usize {
        let start = self.begin(out);
        let mut set: Option<(u16, usize)> = None;
        let mut written = 0;
        for template in templates {
            let needed = 2 * SET_HEADER + 6 + 4 * template.fields.len();
            if out.len() - start + needed > self.most_octets && written > 0 {
                break;
            }
            let set_id = match (self.format, template.scope) {
                (Format::Ipfix, 0) => 2,
                (Format::Ipfix, _) => 3,
                (Format::NetflowV9, _) => 0,
            };
            // nfacctd 1.7.7 reads no second options template of a set.
            if template.scope > 0 || set.is_none_or(|(open, _)| open != set_id) {
                end_set(&mut set, out);
                set = Some((set_id, begin_set(set_id, out)));
            }
            put16(template.id, out);
            put16(template.fields.len() as u16, out);
            if template.scope > 0 {
                put16(template.scope, out);
            }
            for field in template.fields {
                put16(field.id(), out);
                put16(field.octets(), out);
            }
            written += 1;
        }
        end_set(&mut set, out);
        self.finish(start, 0, written as u32, now, out);
        written
    }

    /// Appends a message that says how much was lost to the collector of that number (RFC 7011 section 4.3).
    /// Nothing in NetFlow.
    pub fn reliability(&mut self, number: u32, loss: &Loss, now: Now, out: &mut Vec<u8>) {
        if self.format != Format::Ipfix {
            return;
        }
        let start = self.begin(out);
        let mut set = Some((template::RELIABILITY, begin_set(template::RELIABILITY, out)));
        put32(number, out);
        put64(loss.total(), out);
        // Of the flows' packets and octets a translator's records count none.
        put64(0, out);
        put64(0, out);
        put64(loss.first, out);
        put64(loss.last, out);
        end_set(&mut set, out);
        self.finish(start, 1, 1, now, out);
    }

    /// Messages that say which addresses each pool has. None in NetFlow.
    #[must_use]
    pub fn pool_names(&mut self, instance: &Instance, now: Now) -> Vec<Vec<u8>> {
        let mut messages = Vec::new();
        let mut pools = instance.pools.as_slice();
        while self.format == Format::Ipfix && !pools.is_empty() {
            let mut message = Vec::new();
            let start = self.begin(&mut message);
            let mut set = Some((template::POOL_NAME, begin_set(template::POOL_NAME, &mut message)));
            let mut written = 0;
            while let Some(pool) = pools.first() {
                if written > 0 && message.len() + pool.name.len() + 10 > self.most_octets {
                    break;
                }
                put32(pool.pool_id, &mut message);
                put_string(&pool.name, &mut message);
                (pools, written) = (&pools[1..], written + 1);
            }
            end_set(&mut set, &mut message);
            self.finish(start, written, written, now, &mut message);
            messages.push(message);
        }
        messages
    }

    fn begin(&self, out: &mut Vec<u8>) -> usize {
        let start = out.len();
        let header = if self.format == Format::Ipfix { IPFIX_HEADER } else { NETFLOW_HEADER };
        out.resize(start + header, 0);
        start
    }

    /// Writes the header. `data` counts the data records, `all` the templates too.
    fn finish(&mut self, start: usize, data: u32, all: u32, now: Now, out: &mut [u8]) {
        let length = (out.len() - start) as u16;
        self.exported = self.exported.max((now.unix_millis / 1000) as u32);
        let seconds = self.exported.to_be_bytes();
        let header = &mut out[start..];
        match self.format {
            // RFC 7011 section 3.1.
            Format::Ipfix => {
                header[0..2].copy_from_slice(&10u16.to_be_bytes());
                header[2..4].copy_from_slice(&length.to_be_bytes());
                header[4..8].copy_from_slice(&seconds);
                header[8..12].copy_from_slice(&self.sequence.to_be_bytes());
                header[12..16].copy_from_slice(&self.domain.to_be_bytes());
                self.sequence = self.sequence.wrapping_add(data);
            }
            // RFC 3954 section 5.1.
            Format::NetflowV9 => {
                let started = *self.started.get_or_insert(now.monotonic.millis());
                let uptime = now.monotonic.millis().saturating_sub(started) as u32;
                header[0..2].copy_from_slice(&9u16.to_be_bytes());
                header[2..4].copy_from_slice(&(all as u16).to_be_bytes());
                header[4..8].copy_from_slice(&uptime.to_be_bytes());
                header[8..12].copy_from_slice(&seconds);
                header[12..16].copy_from_slice(&self.sequence.to_be_bytes());
                header[16..20].copy_from_slice(&self.domain.to_be_bytes());
                self.sequence = self.sequence.wrapping_add(1);
            }
        }
    }
}

fn begin_set(id: u16, out: &mut Vec<u8>) -> usize {
    let start = out.len();
    put16(id, out);
    put16(0, out);
    start
}

/// Pads the set to a multiple of 4 octets, less than any record has, and writes its length.
fn end_set(set: &mut Option<(u16, usize)>, out: &mut Vec<u8>) {
    let Some((_, start)) = set.take() else { return };
    let length = (out.len() - start + 3) & !3;
    out.resize(start + length, 0);
    out[start + 2..start + 4].copy_from_slice(&(length as u16).to_be_bytes());
}

/// RFC 7011 section 7.
fn put_string(text: &str, out: &mut Vec<u8>) {
    match u8::try_from(text.len()) {
        Ok(short) if short < 255 => out.push(short),
        _ => {
            out.push(255);
            put16(text.len() as u16, out);
        }
    }
    out.extend(text.as_bytes());
}

#[inline]
fn put16(value: u16, out: &mut Vec<u8>) {
    out.extend(value.to_be_bytes());
}

#[inline]
fn put32(value: u32, out: &mut Vec<u8>) {
    out.extend(value.to_be_bytes());
}

#[inline]
fn put64(value: u64, out: &mut Vec<u8>) {
    out.extend(value.to_be_bytes());
}

#[cfg(test)]
#[path = "tests/message.rs"]
pub(super) mod tests;
