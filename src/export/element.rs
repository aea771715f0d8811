//! Information Elements: the IANA registry's numbers, names and sizes of those that are sent.

macro_rules! elements {
    ($($(#[$doc:meta])* $variant:ident = $id:literal, $name:literal, $octets:expr;)*) => {
        /// An Information Element (RFC 7012). Every integer is unsigned and in network order.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Element {
            $($(#[$doc])* $variant = $id,)*
        }

        impl Element {
            /// Every element that is sent.
            pub const ALL: &[Element] = &[$(Element::$variant),*];

            /// Its name in the registry.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Element::$variant => $name,)* }
            }

            /// Its size; [`VARIABLE`] for a string.
            #[inline]
            #[must_use]
            pub const fn octets(self) -> u16 {
                match self { $(Element::$variant => $octets,)* }
            }
        }
    };
}

/// The length in a template of what carries its own length (RFC 7011 section 7).
pub const VARIABLE: u16 = 0xffff;

elements! {
    /// 1, 6 or 17.
    ProtocolIdentifier = 4, "protocolIdentifier", 1;
    /// Of the host; the identifier of an ICMP query.
    SourceTransportPort = 7, "sourceTransportPort", 2;
    /// Of the host, behind its B4.
    SourceIpv4Address = 8, "sourceIPv4Address", 4;
    /// Of the remote end; never sent without an order to.
    DestinationTransportPort = 11, "destinationTransportPort", 2;
    /// Of the remote end; never sent without an order to.
    DestinationIpv4Address = 12, "destinationIPv4Address", 4;
    /// The B4: with the element above, who it is.
    SourceIpv6Address = 27, "sourceIPv6Address", 16;
    /// Who says how much was lost.
    ExportingProcessId = 144, "exportingProcessId", 4;
    /// Records that were not sent.
    NotSentFlowTotalCount = 166, "notSentFlowTotalCount", 8;
    /// Of flow records; ours count none.
    NotSentPacketTotalCount = 167, "notSentPacketTotalCount", 8;
    /// Of flow records; ours count none.
    NotSentOctetTotalCount = 168, "notSentOctetTotalCount", 8;
    /// External address.
    PostNatSourceIpv4Address = 225, "postNATSourceIPv4Address", 4;
    /// External port.
    PostNaptSourceTransportPort = 227, "postNAPTSourceTransportPort", 2;
    /// What happened.
    NatEvent = 230, "natEvent", 1;
    /// `pool-id`
    NatPoolId = 283, "natPoolId", 4;
    /// Its addresses, in words.
    NatPoolName = 284, "natPoolName", VARIABLE;
    /// When it happened, in milliseconds since 1970; not when it was sent.
    ObservationTimeMilliseconds = 323, "observationTimeMilliseconds", 8;
    /// First port of a set.
    PortRangeStart = 361, "portRangeStart", 2;
    /// Last port of a set.
    PortRangeEnd = 362, "portRangeEnd", 2;
    /// From one port of a set to the next: 1.
    PortRangeStepSize = 363, "portRangeStepSize", 2;
    /// Ports of a set.
    PortRangeNumPorts = 364, "portRangeNumPorts", 2;
    /// `nat-instance-id`
    NatInstanceId = 463, "natInstanceID", 4;
    /// Which limit was reached.
    NatQuotaExceededEvent = 466, "natQuotaExceededEvent", 4;
    /// Which threshold was crossed.
    NatThresholdEvent = 467, "natThresholdEvent", 4;
    /// A limit.
    MaxSessionEntries = 471, "maxSessionEntries", 4;
    /// A limit.
    MaxBibEntries = 472, "maxBIBEntries", 4;
    /// A limit.
    MaxEntriesPerUser = 473, "maxEntriesPerUser", 4;
    /// A limit.
    MaxSubscribers = 474, "maxSubscribers", 4;
    /// A limit.
    MaxFragmentsPendingReassembly = 475, "maxFragmentsPendingReassembly", 4;
    /// Addresses in use.
    AddressPoolHighThreshold = 476, "addressPoolHighThreshold", 4;
    /// Addresses in use.
    AddressPoolLowThreshold = 477, "addressPoolLowThreshold", 4;
    /// Mappings.
    AddressPortMappingHighThreshold = 478, "addressPortMappingHighThreshold", 4;
    /// Mappings of one subscriber.
    AddressPortMappingPerUserHighThreshold = 480, "addressPortMappingPerUserHighThreshold", 4;
    /// Subscribers that have an external address.
    GlobalAddressMappingHighThreshold = 481, "globalAddressMappingHighThreshold", 4;
}

impl Element {
    /// Its number in the registry.
    #[inline]
    #[must_use]
    pub const fn id(self) -> u16 {
        self as u16
    }
}
