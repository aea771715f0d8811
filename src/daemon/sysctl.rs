//! Kernel settings that decide whether packets reach the tun and leave it again.
//!
//! `/proc/sys/net` shows the network namespace of the thread that reads it.

use std::{fmt, fs, io};

use crate::engine::Config;

/// A setting, and the value that the data plane needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sysctl {
    /// Path below `/proc/sys`. Not dotted, because an interface name may have a dot.
    path: String,
    wanted: &'static str,
}

/// The command that sets it. A tun that the daemon made is gone when the command is typed: then it is the setting
/// that the next one begins with.
impl fmt::Display for Sysctl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts: Vec<&str> = self.path.split('/').collect();
        if let [_, _, "conf", interface, _] = &mut parts[..]
            && !fs::exists(self.file()).unwrap_or(true)
        {
            *interface = "default";
        }
        write!(f, "sudo sysctl -w {}={}", parts.join("/"), self.wanted)
    }
}

impl Sysctl {
    fn new(path: String, wanted: &'static str) -> Sysctl {
        Sysctl { path, wanted }
    }

    fn file(&self) -> String {
        format!("/proc/sys/{}", self.path)
    }

    /// Whether the kernel has it so. A kernel without the setting has no say in the matter.
    fn holds(&self) -> bool {
        fs::read_to_string(self.file()).map_or(true, |value| value.trim() == self.wanted)
    }

    fn set(&self) -> io::Result<()> {
        fs::write(self.file(), self.wanted)
    }
}

/// The settings for the interface `interface`, in the order to set them: without them nothing is
/// forwarded.
pub(super) fn needed(config: &Config) -> Vec<Sysctl> {
    let interface = &config.dataplane.interface;
    let mut needed = vec![
        Sysctl::new("net/ipv4/ip_forward".into(), "1"),
        Sysctl::new(format!("net/ipv4/conf/{interface}/forwarding"), "1"),
        Sysctl::new("net/ipv6/conf/all/forwarding".into(), "1"),
        Sysctl::new(format!("net/ipv6/conf/{interface}/forwarding"), "1"),
    ];
    // Translated packets come from pool addresses, whose route is the tun, and pass any rp_filter. What
    // is passed through untranslated (RFC 6888 REQ-6) has no such route, and the larger of the two counts.
    if !config.nat.nat_pass_through.is_empty() {
        needed.push(Sysctl::new("net/ipv4/conf/all/rp_filter".into(), "0"));
        needed.push(Sysctl::new(format!("net/ipv4/conf/{interface}/rp_filter"), "0"));
    }
    needed
}

/// Those that are not as needed; with `may_set` they are set first.
pub(super) fn wrong(needed: Vec<Sysctl>, may_set: bool) -> Vec<Sysctl> {
    needed
        .into_iter()
        .filter(|sysctl| {
            if may_set && !sysctl.holds() {
                match sysctl.set() {
                    Ok(()) => tracing::info!(path = %sysctl.path, value = %sysctl.wanted, "sysctl set"),
                    Err(error) => tracing::warn!(path = %sysctl.path, %error, "sysctl cannot be set"),
                }
            }
            !sysctl.holds()
        })
        .collect()
}

/// Keeps the kernel from giving the tun a link-local address and from speaking on it by itself: the
/// engine would have to drop that. Nothing breaks where it cannot be set.
pub(super) fn quieten(interface: &str) {
    let sysctl = Sysctl::new(format!("net/ipv6/conf/{interface}/addr_gen_mode"), "1");
    if let Err(error) = sysctl.set() {
        tracing::debug!(path = %sysctl.path, %error, "the kernel may send router solicitations into the tun");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cure_names_no_interface_that_is_gone() {
        let cure =
            |interface: &str| Sysctl::new(format!("net/ipv4/conf/{interface}/forwarding"), "1").to_string();
        assert_eq!(cure("aftr.gone"), "sudo sysctl -w net/ipv4/conf/default/forwarding=1");
        assert_eq!(cure("lo"), "sudo sysctl -w net/ipv4/conf/lo/forwarding=1");
    }
}
