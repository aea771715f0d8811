//! FD.io VPP v26.06, measured once on a machine like this one with its own packet generator: 46-byte inner UDP,
//! sessions visited in random order, one 2.6 GHz-class core, medians of five.

/// ns per packet of the whole graph, from the B4 and to the B4.
pub(crate) struct Peer {
    pub(crate) size: usize,
    pub(crate) length: usize,
    pub(crate) ds_lite: Option<(u32, u32)>,
    /// NAT44-EI, which has no tunnel.
    pub(crate) nat44: Option<(u32, u32)>,
}

pub(crate) const VPP: [Peer; 6] = [
    Peer { size: 1, length: 46, ds_lite: Some((68, 58)), nat44: None },
    Peer { size: 1000, length: 46, ds_lite: Some((78, 63)), nat44: Some((42, 42)) },
    Peer { size: 1000, length: 1400, ds_lite: Some((97, 75)), nat44: None },
    Peer { size: 100_000, length: 46, ds_lite: Some((365, 167)), nat44: Some((112, 100)) },
    Peer { size: 100_000, length: 1400, ds_lite: Some((546, 250)), nat44: None },
    Peer { size: 1_000_000, length: 46, ds_lite: Some((795, 415)), nat44: Some((325, 304)) },
];

pub(crate) fn of(size: usize, length: usize) -> Option<&'static Peer> {
    VPP.iter().find(|peer| (peer.size, peer.length) == (size, length))
}
