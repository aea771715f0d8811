//! The daemon around the engine: devices, routes, workers, the clock, signals and logs.
//!
//! [`Daemon`] is the part that `aftr run` and `aftr lab` share: it opens the device once for each worker,
//! makes the kernel leave the AFTR's addresses to it and starts the workers. [`supervise`] is what only a
//! service needs: signals, reload, the service manager, a status line.

mod clock;
mod worker;
mod workers;
mod exchange;
mod evidence;
mod journal_keeper;
mod wake;
mod request;
mod service;
mod data_plane;
mod host;
mod packet_host;
mod ingress;
mod next_hops;
mod neighbours;
mod proxies;
mod netlink;
mod sysctl;
mod privileges;
mod start_error;
mod load;
mod supervise;
mod status;
mod event_log;
mod service_manager;
mod logging;
#[cfg(test)]
mod testing;

pub use clock::Clock;
pub use load::{LoadError, load, load_with_text};
pub use logging::{LogFormat, start_logging};
pub use netlink::{Link, Netlink};
pub use request::{Losses, Snapshot};
pub use service::{Daemon, Options, ReloadError};
pub use start_error::StartError;
pub use supervise::supervise;
pub use sysctl::Sysctl;
pub use workers::NoAnswer;
