//! A record as elements and back: the one place that knows which element is which part of it.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::element::{Element, VARIABLE};
use super::record::{Change, Host, Record, Threshold, What, quota};
use super::template::Template;
use crate::engine::{Limit, Protocol};

/// What a record may consist of; what it does not have is 0, and no template asks for it.
#[derive(Default)]
pub(super) struct Fields {
    at: u64,
    nat_event: u8,
    nat_instance_id: u32,
    internal: u32,
    external: u32,
    b4: u128,
    protocol: u8,
    internal_port: u16,
    external_port: u16,
    first_port: u16,
    last_port: u16,
    pool_id: u32,
    threshold: u32,
    quota: u32,
    value: u32,
}

impl Fields {
    #[inline]
    pub(super) fn of(record: &Record, nel: bool, nat_instance_id: u32) -> Fields {
        let common =
            Fields { at: record.at, nat_event: record.nat_event(nel), nat_instance_id, ..Fields::default() };
        match record.what {
            What::PortSet { host, external, first_port, last_port, pool_id, .. } => Fields {
                internal: host.internal.to_bits(),
                external: external.to_bits(),
                b4: host.b4.to_bits(),
                first_port,
                last_port,
                pool_id,
                ..common
            },
            What::Mapping { host, protocol, internal_port, external, external_port, pool_id, .. } => Fields {
                internal: host.internal.to_bits(),
                external: external.to_bits(),
                b4: host.b4.to_bits(),
                protocol,
                internal_port,
                external_port,
                pool_id,
                ..common
            },
            What::Threshold { threshold, value, pool_id } => {
                Fields { threshold: threshold.code(), value, pool_id, ..common }
            }
            What::Limit { limit, most } => {
                Fields { quota: quota(&limit), value: most, ..common }.with_names_of(&limit)
            }
        }
    }

    /// What a limit is of.
    fn with_names_of(self, limit: &Limit) -> Fields {
        match *limit {
            Limit::Sessions | Limit::Mappings | Limit::Subscribers => self,
            Limit::Pool { pool_id } => Fields { pool_id, ..self },
            Limit::Address { external, protocol } => {
                Fields { external: external.to_bits(), protocol: number_of(protocol), ..self }
            }
            Limit::Subscriber { b4, internal, .. } | Limit::Fragments { b4, internal, .. } => {
                Fields { b4: b4.to_bits(), internal: internal.to_bits(), ..self }
            }
        }
    }

    /// Writes an element.
    #[inline]
    pub(super) fn put(&self, element: Element, out: &mut Vec<u8>) {
        match element {
            Element::ObservationTimeMilliseconds => out.extend(self.at.to_be_bytes()),
            Element::NatEvent => out.push(self.nat_event),
            Element::NatInstanceId => out.extend(self.nat_instance_id.to_be_bytes()),
            Element::SourceIpv4Address => out.extend(self.internal.to_be_bytes()),
            Element::PostNatSourceIpv4Address => out.extend(self.external.to_be_bytes()),
            Element::SourceIpv6Address => out.extend(self.b4.to_be_bytes()),
            Element::ProtocolIdentifier => out.push(self.protocol),
            Element::SourceTransportPort => out.extend(self.internal_port.to_be_bytes()),
            Element::PostNaptSourceTransportPort => out.extend(self.external_port.to_be_bytes()),
            Element::PortRangeStart => out.extend(self.first_port.to_be_bytes()),
            Element::PortRangeEnd => out.extend(self.last_port.to_be_bytes()),
            Element::PortRangeStepSize => out.extend(1u16.to_be_bytes()),
            Element::PortRangeNumPorts => out.extend(self.ports().to_be_bytes()),
            Element::NatPoolId => out.extend(self.pool_id.to_be_bytes()),
            Element::NatThresholdEvent => out.extend(self.threshold.to_be_bytes()),
            Element::NatQuotaExceededEvent => out.extend(self.quota.to_be_bytes()),
            Element::MaxSessionEntries
            | Element::MaxBibEntries
            | Element::MaxEntriesPerUser
            | Element::MaxSubscribers
            | Element::MaxFragmentsPendingReassembly
            | Element::AddressPoolHighThreshold
            | Element::AddressPoolLowThreshold
            | Element::AddressPortMappingHighThreshold
            | Element::GlobalAddressMappingHighThreshold => out.extend(self.value.to_be_bytes()),
            Element::DestinationTransportPort
            | Element::DestinationIpv4Address
            | Element::ExportingProcessId
            | Element::NotSentFlowTotalCount
            | Element::NotSentPacketTotalCount
            | Element::NotSentOctetTotalCount
            | Element::NatPoolName
            | Element::AddressPortMappingPerUserHighThreshold => {
                let octets = if element.octets() == VARIABLE { 1 } else { element.octets() };
                out.resize(out.len() + usize::from(octets), 0);
            }
        }
    }

    /// All 65536 ports of an address are one more than fits.
    fn ports(&self) -> u16 {
        self.last_port.saturating_sub(self.first_port).saturating_add(1)
    }

    /// Takes over an element of at most 16 octets.
    pub(super) fn read(&mut self, element: Element, value: &[u8]) {
        let number = value.iter().fold(0u128, |number, &octet| number << 8 | u128::from(octet));
        match element {
            Element::ObservationTimeMilliseconds => self.at = number as u64,
            Element::NatEvent => self.nat_event = number as u8,
            Element::NatInstanceId => self.nat_instance_id = number as u32,
            Element::SourceIpv4Address => self.internal = number as u32,
            Element::PostNatSourceIpv4Address => self.external = number as u32,
            Element::SourceIpv6Address => self.b4 = number,
            Element::ProtocolIdentifier => self.protocol = number as u8,
            Element::SourceTransportPort => self.internal_port = number as u16,
            Element::PostNaptSourceTransportPort => self.external_port = number as u16,
            Element::PortRangeStart => self.first_port = number as u16,
            Element::PortRangeEnd => self.last_port = number as u16,
            Element::NatPoolId => self.pool_id = number as u32,
            Element::NatThresholdEvent => self.threshold = number as u32,
            Element::NatQuotaExceededEvent => self.quota = number as u32,
            Element::MaxSessionEntries
            | Element::MaxBibEntries
            | Element::MaxEntriesPerUser
            | Element::MaxSubscribers
            | Element::MaxFragmentsPendingReassembly
            | Element::AddressPoolHighThreshold
            | Element::AddressPoolLowThreshold
            | Element::AddressPortMappingHighThreshold
            | Element::GlobalAddressMappingHighThreshold => self.value = number as u32,
            // Derived, or in no record that we write.
            Element::PortRangeStepSize
            | Element::PortRangeNumPorts
            | Element::DestinationTransportPort
            | Element::DestinationIpv4Address
            | Element::ExportingProcessId
            | Element::NotSentFlowTotalCount
            | Element::NotSentPacketTotalCount
            | Element::NotSentOctetTotalCount
            | Element::NatPoolName
            | Element::AddressPortMappingPerUserHighThreshold => {}
        }
    }

    /// The record, if it is one that has this template.
    pub(super) fn record(&self, template: &Template) -> Option<Record> {
        let host = Host { b4: Ipv6Addr::from_bits(self.b4), internal: Ipv4Addr::from_bits(self.internal) };
        let (external, pool_id) = (Ipv4Addr::from_bits(self.external), self.pool_id);
        let change = |begin| if self.nat_event == begin { Change::Begin } else { Change::End };
        let what = match self.nat_event {
            16 | 17 if self.first_port <= self.last_port => What::PortSet {
                change: change(16),
                host,
                external,
                first_port: self.first_port,
                last_port: self.last_port,
                pool_id,
            },
            8 | 9 => What::Mapping {
                change: change(8),
                host,
                protocol: self.protocol,
                internal_port: self.internal_port,
                external,
                external_port: self.external_port,
                pool_id,
            },
            18 => {
                let threshold = Threshold::ALL.into_iter().find(|one| one.code() == self.threshold)?;
                What::Threshold { threshold, value: self.value, pool_id }
            }
            3 | 12 | 13 => What::Limit { limit: self.limit()?, most: self.value },
            _ => return None,
        };
        let record = Record { at: self.at, what };
        (record.template() == template.id).then_some(record)
    }

    fn limit(&self) -> Option<Limit> {
        let (b4, internal) = (Ipv6Addr::from_bits(self.b4), Ipv4Addr::from_bits(self.internal));
        let most = self.value;
        Some(match (self.nat_event, self.quota) {
            (3, _) => Limit::Pool { pool_id: self.pool_id },
            (12, _) => {
                let protocol = PROTOCOLS.into_iter().find(|&one| number_of(one) == self.protocol)?;
                Limit::Address { external: Ipv4Addr::from_bits(self.external), protocol }
            }
            (_, 1) => Limit::Sessions,
            (_, 2) => Limit::Mappings,
            (_, 3) => Limit::Subscriber { b4, internal, most },
            (_, 4) => Limit::Subscribers,
            (_, 5) => Limit::Fragments { b4, internal, most },
            _ => return None,
        })
    }
}

const PROTOCOLS: [Protocol; 3] = [Protocol::Tcp, Protocol::Udp, Protocol::Icmp];

/// protocolIdentifier
pub(super) const fn number_of(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Icmp => 1,
        Protocol::Tcp => 6,
        Protocol::Udp => 17,
    }
}
