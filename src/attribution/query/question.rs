//! A question as an investigator asks it (ATT-3).

use std::net::Ipv4Addr;
use std::ops::RangeInclusive;

use crate::attribution::record::Millis;

/// Who held this?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Question {
    /// External address.
    pub address: Ipv4Addr,
    /// External port, or ICMP identifier; nothing where the asker does not know it.
    pub port: Option<u16>,
    /// When.
    pub time: Millis,
    /// The asker's clock may be wrong by this much, either way.
    pub uncertainty: Millis,
    /// Number of the IP protocol, where it is known.
    pub protocol: Option<u8>,
}

impl Question {
    /// Default of `uncertainty`: a second.
    pub const UNCERTAINTY: Millis = 1000;

    /// The moments that are asked about.
    #[must_use]
    pub fn window(&self) -> RangeInclusive<Millis> {
        self.time.saturating_sub(self.uncertainty)..=self.time.saturating_add(self.uncertainty)
    }

    pub(super) fn ports(&self) -> RangeInclusive<u16> {
        self.port.map_or(0..=u16::MAX, |port| port..=port)
    }
}
