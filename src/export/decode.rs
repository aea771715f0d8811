//! Messages back to records: what a spool needs, which holds nothing but our own IPFIX. Whatever is not ours
//! is passed over; a message that is cut short ends the reading.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::element::{Element, VARIABLE};
use super::message::IPFIX_HEADER;
use super::record::{Change, Host, Record, Threshold, What};
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

/// What a record may consist of.
#[derive(Default)]
struct Fields {
    at: u64,
    nat_event: u64,
    internal: u64,
    external: u64,
    b4: [u8; 16],
    protocol: u64,
    internal_port: u64,
    external_port: u64,
    first_port: u64,
    last_port: u64,
    pool_id: u64,
    threshold: u64,
    value: u64,
}

impl Fields {
    fn read(&mut self, element: Element, value: &[u8]) {
        if element == Element::SourceIpv6Address {
            self.b4.copy_from_slice(value);
            return;
        }
        let number = value.iter().fold(0u64, |number, &octet| number << 8 | u64::from(octet));
        *match element {
            Element::ObservationTimeMilliseconds => &mut self.at,
            Element::NatEvent => &mut self.nat_event,
            Element::SourceIpv4Address => &mut self.internal,
            Element::PostNatSourceIpv4Address => &mut self.external,
            Element::ProtocolIdentifier => &mut self.protocol,
            Element::SourceTransportPort => &mut self.internal_port,
            Element::PostNaptSourceTransportPort => &mut self.external_port,
            Element::PortRangeStart => &mut self.first_port,
            Element::PortRangeEnd => &mut self.last_port,
            Element::NatPoolId => &mut self.pool_id,
            Element::NatThresholdEvent => &mut self.threshold,
            Element::AddressPoolHighThreshold
            | Element::AddressPoolLowThreshold
            | Element::AddressPortMappingHighThreshold
            | Element::GlobalAddressMappingHighThreshold => &mut self.value,
            // In every record the same, or derived, or in none that we write.
            Element::NatInstanceId
            | Element::PortRangeStepSize
            | Element::PortRangeNumPorts
            | Element::DestinationTransportPort
            | Element::DestinationIpv4Address
            | Element::SourceIpv6Address
            | Element::ExportingProcessId
            | Element::NotSentFlowTotalCount
            | Element::NotSentPacketTotalCount
            | Element::NotSentOctetTotalCount
            | Element::NatPoolName
            | Element::NatQuotaExceededEvent
            | Element::MaxSessionEntries
            | Element::MaxBibEntries
            | Element::MaxEntriesPerUser
            | Element::MaxSubscribers
            | Element::MaxFragmentsPendingReassembly
            | Element::AddressPortMappingPerUserHighThreshold => return,
        } = number;
    }

    fn record(&self, template: &Template) -> Option<Record> {
        let host = Host { b4: Ipv6Addr::from(self.b4), internal: Ipv4Addr::from(self.internal as u32) };
        let external = Ipv4Addr::from(self.external as u32);
        let pool_id = self.pool_id as u32;
        let threshold = Threshold::ALL.into_iter().find(|one| u64::from(one.code()) == self.threshold);
        let what = match self.nat_event {
            event @ (16 | 17) => What::PortSet {
                change: if event == 16 { Change::Begin } else { Change::End },
                host,
                external,
                first_port: self.first_port as u16,
                last_port: self.last_port as u16,
                pool_id,
            },
            event @ (8 | 9) => What::Mapping {
                change: if event == 8 { Change::Begin } else { Change::End },
                host,
                protocol: self.protocol as u8,
                internal_port: self.internal_port as u16,
                external,
                external_port: self.external_port as u16,
                pool_id,
            },
            18 => What::Threshold { threshold: threshold?, value: self.value as u32, pool_id },
            _ => return None,
        };
        let record = Record { at: self.at, what };
        (record.template() == template.id).then_some(record)
    }
}

fn u16_at(octets: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(octets.get(at..at + 2)?.try_into().ok()?))
}
