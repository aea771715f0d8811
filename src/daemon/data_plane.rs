//! The host's side of the device that the configuration names.

use aftr_config::DeviceKind;

use super::clock::Clock;
use super::host::Host;
use super::packet_host::PacketHost;
use super::start_error::StartError;
use super::wake::Wake;
use crate::engine::Config;
use crate::io::AnyDevice;

/// What was set up outside the worker.
pub(super) enum DataPlane {
    Tun(Host),
    Packet(Box<PacketHost>),
}

impl DataPlane {
    /// Opens the device of `config` in the network namespace of this thread.
    pub(super) fn set_up(config: &Config) -> Result<(DataPlane, AnyDevice), StartError> {
        match config.dataplane.device {
            DeviceKind::Tun => {
                let (host, tun) = Host::set_up(config)?;
                Ok((DataPlane::Tun(host), AnyDevice::Tun(Box::new(tun))))
            }
            DeviceKind::Packet => {
                let (host, device) = PacketHost::set_up(config)?;
                Ok((DataPlane::Packet(Box::new(host)), AnyDevice::Packet(Box::new(device))))
            }
        }
    }

    /// Starts what runs beside the worker, which `wake` wakes; its threads have the capabilities that the
    /// calling one has now.
    pub(super) fn start(&mut self, wake: &Wake, clock: Clock) -> Result<(), StartError> {
        match self {
            DataPlane::Tun(_) => Ok(()),
            DataPlane::Packet(host) => host.start(wake, clock),
        }
    }

    /// Adds what a changed configuration needs more; all of it or nothing.
    pub(super) fn extend(&mut self, config: &Config) -> Result<(), StartError> {
        match self {
            DataPlane::Tun(host) => host.extend(config),
            DataPlane::Packet(host) => host.extend(config),
        }
    }

    /// Removes what `config` no longer needs.
    pub(super) fn shrink(&mut self, config: &Config) {
        match self {
            DataPlane::Tun(host) => host.shrink(config),
            DataPlane::Packet(host) => host.shrink(config),
        }
    }
}
