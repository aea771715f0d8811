//! Messages back to records: what a spool needs, which holds nothing but our own IPFIX. Whatever is not ours
//! is passed over; a message that is cut short ends the reading.

use super::element::VARIABLE;
use super::fields::Fields;
use super::message::IPFIX_HEADER;
use super::record::Record;
use super::template::Template;

/// The records of whole messages, in order, and how many octets those messages have.
#[must_use]
pub fn records(mut octets: &[u8]) -> (Vec<Record>, usize) {
    let (mut records, mut read) = (Vec::new(), 0);
    while let Some(message) = whole_message(octets) {
        let mut sets = &message[IPFIX_HEADER..];
        while let Some((id, set)) = next_set(&mut sets) {
            if let Some(template) = Template::find(id) {
                read_set(template, set, &mut records);
            }
        }
        read += message.len();
        octets = &octets[message.len()..];
    }
    (records, read)
}

/// The message that the octets begin with, if it is IPFIX and all there.
fn whole_message(octets: &[u8]) -> Option<&[u8]> {
    let is_ipfix = octets.get(..2)? == [0, 10];
    let length = usize::from(u16_at(octets, 2)?);
    (is_ipfix && length >= IPFIX_HEADER).then(|| octets.get(..length)).flatten()
}

fn next_set<'m>(sets: &mut &'m [u8]) -> Option<(u16, &'m [u8])> {
    let (id, length) = (u16_at(sets, 0)?, usize::from(u16_at(sets, 2)?));
    let set = sets.get(4..length)?;
    *sets = &sets[length..];
    Some((id, set))
}

fn read_set(template: &'static Template, mut set: &[u8], records: &mut Vec<Record>) {
    let is_fixed = template.fields.iter().all(|field| field.octets() != VARIABLE);
    let octets = template.octets();
    while is_fixed && template.scope == 0 && set.len() >= octets {
        let mut fields = Fields::default();
        for &field in template.fields {
            let (value, rest) = set.split_at(usize::from(field.octets()));
            fields.read(field, value);
            set = rest;
        }
        records.extend(fields.record(template));
    }
}

fn u16_at(octets: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(octets.get(at..at + 2)?.try_into().ok()?))
}
