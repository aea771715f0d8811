//! The host's side of the device that the configuration names.

use aftr_config::DeviceKind;

use super::clock::Clock;
use super::host::Host;
use super::packet_host::PacketHost;
use super::start_error::StartError;
use super::wake::Wake;
use crate::engine::{Config, Owners};
use crate::io::{AnyDevice, Steering};

/// What was set up outside the workers.
pub(super) enum DataPlane {
    Tun(Host),
    Packet(Box<PacketHost>),
}

impl DataPlane {
    /// Opens the device of `config` in the network namespace of this thread, once for each worker.
    pub(super) fn set_up(
        config: &Config,
        owners: &Owners,
    ) -> Result<(DataPlane, Vec<AnyDevice>), StartError> {
        let steering = Steering { key: owners.key(), mask: owners.mask_length(), workers: owners.workers() };
        match config.dataplane.device {
            DeviceKind::Tun => {
                let (host, queues) = Host::set_up(config, steering)?;
                let devices = queues.into_iter().map(|tun| AnyDevice::Tun(Box::new(tun)));
                Ok((DataPlane::Tun(host), devices.collect()))
            }
            DeviceKind::Packet => {
                let (host, devices) = PacketHost::set_up(config, steering)?;
                let devices = devices.into_iter().map(|device| AnyDevice::Packet(Box::new(device)));
                Ok((DataPlane::Packet(Box::new(host)), devices.collect()))
            }
        }
    }

    /// Starts what runs beside the workers, which `wakes` wake; its threads have the capabilities that the
    /// calling one has now.
    pub(super) fn start(&mut self, wakes: &[Wake], clock: Clock) -> Result<(), StartError> {
        match self {
            DataPlane::Tun(_) => Ok(()),
            DataPlane::Packet(host) => host.start(wakes, clock),
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
