//! Templates as data. Numbers and order of fields never change: a template with other fields gets another
//! number (RFC 7011 section 8).
//!
//! The host's IPv4 address stands before the B4's IPv6 address: nfdump shows the last source that it read.

use super::element::{Element, VARIABLE};
use Element::{
    AddressPoolHighThreshold, AddressPoolLowThreshold, AddressPortMappingHighThreshold,
    AddressPortMappingPerUserHighThreshold, DestinationIpv4Address, DestinationTransportPort,
    ExportingProcessId, GlobalAddressMappingHighThreshold, MaxBibEntries, MaxEntriesPerUser,
    MaxFragmentsPendingReassembly, MaxSessionEntries, MaxSubscribers, NatEvent, NatInstanceId, NatPoolId,
    NatPoolName, NatQuotaExceededEvent, NatThresholdEvent, NotSentFlowTotalCount, NotSentOctetTotalCount,
    NotSentPacketTotalCount, ObservationTimeMilliseconds, PortRangeEnd, PortRangeNumPorts, PortRangeStart,
    PortRangeStepSize, PostNaptSourceTransportPort, PostNatSourceIpv4Address, ProtocolIdentifier,
    SourceIpv4Address, SourceIpv6Address, SourceTransportPort,
};

/// What a record consists of.
#[derive(Debug, PartialEq, Eq)]
pub struct Template {
    /// Its number, from 256.
    pub id: u16,
    /// How many of the fields name what the others are about; 0 for a data template (RFC 7011 section 3.4.2).
    pub scope: u16,
    /// The elements, in order.
    pub fields: &'static [Element],
}

/// natEvent 8, 9: a mapping.
pub(super) const MAPPING: u16 = 256;
/// natEvent 4, 5: a session with its remote end.
pub(super) const SESSION: u16 = 257;
/// natEvent 16, 17: a port set.
pub(super) const PORT_SET: u16 = 258;
/// natEvent 14, 15: a subscriber's external address.
pub(super) const ADDRESS: u16 = 259;
/// natEvent 3: a pool has no address.
pub(super) const NO_ADDRESS: u16 = 260;
/// natEvent 12: an address has no port.
pub(super) const NO_PORT: u16 = 261;
/// natEvent 13, in the order of natQuotaExceededEvent from 1.
pub(super) const QUOTAS: [u16; 5] = [262, 263, 264, 265, 266];
/// natEvent 18, in the order of natThresholdEvent from 1.
pub(super) const THRESHOLDS: [u16; 5] = [267, 268, 269, 270, 271];
/// Options: what was lost.
pub(super) const RELIABILITY: u16 = 300;
/// Options: the name of a pool.
pub(super) const POOL_NAME: u16 = 301;

const fn data(id: u16, fields: &'static [Element]) -> Template {
    Template { id, scope: 0, fields }
}

const fn options(id: u16, fields: &'static [Element]) -> Template {
    Template { id, scope: 1, fields }
}

/// Every template, by number.
#[rustfmt::skip]
pub const TEMPLATES: &[Template] = &[
    data(MAPPING, &[
        ObservationTimeMilliseconds, NatEvent, SourceIpv4Address, PostNatSourceIpv4Address, SourceIpv6Address,
        ProtocolIdentifier, SourceTransportPort, PostNaptSourceTransportPort, NatInstanceId, NatPoolId,
    ]),
    data(SESSION, &[
        ObservationTimeMilliseconds, NatEvent, SourceIpv4Address, PostNatSourceIpv4Address,
        DestinationIpv4Address, SourceIpv6Address, ProtocolIdentifier, SourceTransportPort,
        PostNaptSourceTransportPort, DestinationTransportPort, NatInstanceId, NatPoolId,
    ]),
    data(PORT_SET, &[
        ObservationTimeMilliseconds, NatEvent, SourceIpv4Address, PostNatSourceIpv4Address, SourceIpv6Address,
        PortRangeStart, PortRangeEnd, PortRangeStepSize, PortRangeNumPorts, NatInstanceId, NatPoolId,
    ]),
    data(ADDRESS, &[
        ObservationTimeMilliseconds, NatEvent, SourceIpv4Address, PostNatSourceIpv4Address, SourceIpv6Address,
        NatInstanceId, NatPoolId,
    ]),
    data(NO_ADDRESS, &[ObservationTimeMilliseconds, NatEvent, NatPoolId, NatInstanceId]),
    data(NO_PORT, &[
        ObservationTimeMilliseconds, NatEvent, PostNatSourceIpv4Address, ProtocolIdentifier, NatInstanceId,
    ]),
    data(QUOTAS[0], &[
        ObservationTimeMilliseconds, NatEvent, NatQuotaExceededEvent, MaxSessionEntries, NatInstanceId,
    ]),
    data(QUOTAS[1], &[
        ObservationTimeMilliseconds, NatEvent, NatQuotaExceededEvent, MaxBibEntries, NatInstanceId,
    ]),
    data(QUOTAS[2], &[
        ObservationTimeMilliseconds, NatEvent, NatQuotaExceededEvent, MaxEntriesPerUser, SourceIpv4Address,
        SourceIpv6Address, NatInstanceId,
    ]),
    data(QUOTAS[3], &[
        ObservationTimeMilliseconds, NatEvent, NatQuotaExceededEvent, MaxSubscribers, NatInstanceId,
    ]),
    data(QUOTAS[4], &[
        ObservationTimeMilliseconds, NatEvent, NatQuotaExceededEvent, MaxFragmentsPendingReassembly,
        SourceIpv4Address, SourceIpv6Address, NatInstanceId,
    ]),
    data(THRESHOLDS[0], &[
        ObservationTimeMilliseconds, NatEvent, NatThresholdEvent, NatPoolId, AddressPoolHighThreshold,
        NatInstanceId,
    ]),
    data(THRESHOLDS[1], &[
        ObservationTimeMilliseconds, NatEvent, NatThresholdEvent, NatPoolId, AddressPoolLowThreshold,
        NatInstanceId,
    ]),
    data(THRESHOLDS[2], &[
        ObservationTimeMilliseconds, NatEvent, NatThresholdEvent, AddressPortMappingHighThreshold,
        NatInstanceId,
    ]),
    data(THRESHOLDS[3], &[
        ObservationTimeMilliseconds, NatEvent, NatThresholdEvent, AddressPortMappingHighThreshold,
        AddressPortMappingPerUserHighThreshold, SourceIpv4Address, SourceIpv6Address, NatInstanceId,
    ]),
    data(THRESHOLDS[4], &[
        ObservationTimeMilliseconds, NatEvent, NatThresholdEvent, GlobalAddressMappingHighThreshold,
        NatInstanceId,
    ]),
    options(RELIABILITY, &[
        ExportingProcessId, NotSentFlowTotalCount, NotSentPacketTotalCount, NotSentOctetTotalCount,
        ObservationTimeMilliseconds, ObservationTimeMilliseconds,
    ]),
    options(POOL_NAME, &[NatPoolId, NatPoolName]),
];

impl Template {
    /// The template with a number.
    #[inline]
    #[must_use]
    pub fn find(id: u16) -> Option<&'static Template> {
        let at = if id < RELIABILITY { usize::from(id.checked_sub(MAPPING)?) } else { usize::from(id - 284) };
        TEMPLATES.get(at).filter(|template| template.id == id)
    }

    /// Octets of a record, without those of its strings.
    #[must_use]
    pub fn octets(&self) -> usize {
        let fixed = self.fields.iter().map(|element| element.octets()).filter(|&octets| octets != VARIABLE);
        fixed.map(usize::from).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_as_long_as_written_down() {
        let sizes = TEMPLATES.iter().map(|template| (template.id, template.octets())).collect::<Vec<_>>();
        let expected = [
            (256, 46),
            (257, 52),
            (258, 49),
            (259, 41),
            (260, 17),
            (261, 18),
            (262, 21),
            (263, 21),
            (264, 41),
            (265, 21),
            (266, 41),
            (267, 25),
            (268, 25),
            (269, 21),
            (270, 45),
            (271, 21),
            (300, 44),
            (301, 4),
        ];
        assert_eq!(sizes, expected);
    }

    #[test]
    fn every_template_is_found_by_its_number() {
        for template in TEMPLATES {
            assert_eq!(Template::find(template.id), Some(template));
        }
        for id in [0, 2, 255, 272, 299, 302, u16::MAX] {
            assert_eq!(Template::find(id), None, "{id}");
        }
    }

    #[test]
    fn the_host_stands_before_its_b4() {
        for template in TEMPLATES {
            let at = |element| template.fields.iter().position(|field| *field == element);
            assert!(at(SourceIpv4Address) <= at(SourceIpv6Address), "{}", template.id);
        }
    }
}
