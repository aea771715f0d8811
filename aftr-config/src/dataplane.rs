//! `[dataplane]`: how packets get in and out.

use crate::reader::{Table, number};

/// Octets of an interface name in Linux (IFNAMSIZ less the end).
const MOST_NAME: usize = 15;

/// `[dataplane]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dataplane {
    /// `device`: default `"tun"`.
    pub device: DeviceKind,
    /// `interface`: name of the tun interface; default `"aftr0"`.
    pub interface: String,
    /// `offload`: let the kernel move TCP and UDP in packets of up to 64 KB, which are cut and put together
    /// here; default true. Only a restart changes it.
    pub offload: bool,
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

impl Dataplane {
    pub(crate) fn read(mut table: Table<'_>) -> Dataplane {
        let dataplane = Dataplane {
            device: table.choice("device", &[("tun", DeviceKind::Tun)]).unwrap_or(DeviceKind::Tun),
            interface: table.value("interface", "aftr0".to_owned()),
            offload: table.value("offload", true),
            workers: table
                .read_with("workers", |value| {
                    number(value, &(1..=1)).map_err(|wrong| wrong.add(": there is one worker for now"))
                })
                .unwrap_or(1) as u16,
            manage_host: table.value("manage-host", false),
        };
        if !is_interface_name(&dataplane.interface) {
            let cure = format!("write 1 to {MOST_NAME} characters without space, '/' and ':', as \"aftr0\"");
            table.report().wrong_value(&table.key("interface"), "is no interface name for Linux", cure);
        }
        table.finish();
        dataplane
    }
}

/// What Linux takes as the name of an interface.
fn is_interface_name(name: &str) -> bool {
    let is_refused = |c: char| c == '/' || c == ':' || c.is_ascii_whitespace() || c == '\0';
    (1..=MOST_NAME).contains(&name.len()) && name != "." && name != ".." && !name.contains(is_refused)
}

#[cfg(test)]
mod tests {
    use super::is_interface_name;

    #[test]
    fn interface_names_are_those_of_linux() {
        for good in ["a", "aftr0", "fifteen-octets1", "eth0.100"] {
            assert!(is_interface_name(good), "{good}");
        }
        for bad in ["", ".", "..", "sixteen-octets-1", "a b", "a/b", "a:b", "a\tb"] {
            assert!(!is_interface_name(bad), "{bad}");
        }
    }
}
