//! `[dataplane]`: how packets get in and out.

/// `[dataplane]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dataplane {
    /// `device`: default `"tun"`.
    pub device: DeviceKind,
    /// `interface`: name of the tun interface; default `"aftr0"`.
    pub interface: String,
    /// `workers`: 1 for now; default 1.
    pub workers: u16,
    /// `manage-host`: set sysctls (forwarding, rp_filter of our interface) instead of only reporting them; default false.
    pub manage_host: bool,
}

/// `device`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceKind {
    /// `"tun"`: the kernel routes, the engine translates.
    Tun,
}
