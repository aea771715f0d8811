//! The configuration language of `aftr`, and nothing else.
//!
//! [`Config::parse`] is the only way in: it reads the text once, finds everything that is wrong
//! with it, and gives either a [`Config`] whose fields cannot be wrong or every [`ConfigError`].
//! Keys are the leaf names of RFC 8512 (ietf-nat) and RFC 8513 (ietf-dslite) where these have one.
//! Durations are whole seconds.

mod softwire;
mod nat;
mod policy;
mod icmp;
mod dataplane;
mod provisional;

pub use dataplane::{Dataplane, DeviceKind};
pub use icmp::IcmpLimits;
pub use nat::{
    Deterministic, Filtering, MidSession, Nat, PassThrough, PerPortTimeout, PerProtocol, Pool, PortQuota,
    PortSet, Protocol, SessionLimits, StaticMapping, Tables, Timers,
};
pub use policy::{Policy, Rule};
pub use provisional::ConfigError;
pub use softwire::{Dscp, Ecn, FlowLabel, MssClamping, Softwire};

/// A configuration that has been checked whole: no field of it can be wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// `[softwire]`: who may open one, and how it looks on the wire.
    pub softwire: Softwire,
    /// `[nat]`: pools, port sets, quotas, filtering and timers.
    pub nat: Nat,
    /// `[policy]`: what is refused although it could be translated.
    pub policy: Policy,
    /// `[icmp]`: how many errors of our own may leave.
    pub icmp: IcmpLimits,
    /// `[dataplane]`: devices and workers.
    pub dataplane: Dataplane,
}
