//! `[dataplane]`: how packets get in and out.

use toml::de::DeValue;

use crate::reader::{Table, Value, Wrong, number};

/// Octets of an interface name in Linux (IFNAMSIZ less the end).
const MOST_NAME: usize = 15;

/// Workers are one for each core, and share the external addresses.
const MOST_WORKERS: u32 = 64;
/// Linux knows no more.
const MOST_CPU: u32 = 8191;

/// `[dataplane]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dataplane {
    /// `device`: default `"tun"`.
    pub device: DeviceKind,
    /// `interfaces`: where packets come and go; with device `packet` only, which needs it.
    pub interfaces: Option<Interfaces>,
    /// `proxy-neighbours`: answer ARP for the pools and ND for the AFTR addresses; with device `packet` only;
    /// default false.
    pub proxy_neighbours: bool,
    /// `interface`: name of the tun interface; default `"aftr0"`.
    pub interface: String,
    /// `offload`: let the kernel move TCP and UDP in packets of up to 64 KB, which are cut and put together
    /// here; default true. Only a restart changes it.
    pub offload: bool,
    /// `workers`: threads that move packets, each with its own subscribers and external addresses; 1–64;
    /// default 1.
    pub workers: u16,
    /// `cpus`: the processors that the workers run on, one for each; empty, the default: the kernel chooses.
    pub cpus: Vec<u16>,
    /// `manage-host`: set sysctls (forwarding, rp_filter of our interface) instead of only reporting them; default false.
    pub manage_host: bool,
}

/// `device`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceKind {
    /// `"tun"`: the kernel routes, the engine translates.
    Tun,
    /// `"packet"`: frames of Ethernet interfaces, by AF_PACKET.
    Packet,
}

/// `interfaces`: names of interfaces; both may be the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interfaces {
    /// `b4`: towards the access network.
    pub b4: String,
    /// `internet`: towards the Internet.
    pub internet: String,
}

/// The number of a processor, as the kernel gives them.
struct Cpu(u16);

impl Value for Cpu {
    fn read(value: &DeValue<'_>) -> Result<Cpu, Wrong> {
        number(value, &(0..=MOST_CPU)).map(|number| Cpu(number as u16))
    }
}

const DEVICES: &[(&str, DeviceKind)] = &[("tun", DeviceKind::Tun), ("packet", DeviceKind::Packet)];

impl Dataplane {
    pub(crate) fn read(mut table: Table<'_>) -> Dataplane {
        let device = table.choice("device", DEVICES).unwrap_or(DeviceKind::Tun);
        let dataplane = Dataplane {
            device,
            interfaces: read_interfaces(&mut table, device),
            proxy_neighbours: table.value("proxy-neighbours", false),
            interface: table.value("interface", "aftr0".to_owned()),
            offload: table.value("offload", true),
            workers: table.number("workers", 1..=MOST_WORKERS, 1),
            cpus: table.list("cpus").unwrap_or_default().into_iter().map(|Cpu(number)| number).collect(),
            manage_host: table.value("manage-host", false),
        };
        check_name(&table, "interface", &dataplane.interface, "aftr0");
        let others: &[&str] = match device {
            DeviceKind::Tun => &["interfaces", "proxy-neighbours"],
            DeviceKind::Packet => &["interface", "offload"],
        };
        for key in others.iter().filter(|key| table.has(key)) {
            let (problem, cure) = match device {
                DeviceKind::Tun => {
                    ("has no use with device = \"tun\"", "leave it out, or write device = \"packet\"")
                }
                DeviceKind::Packet => ("is a key of the tun", "leave it out, or write device = \"tun\""),
            };
            table.report().wrong(&table.key(key), problem, cure);
        }
        table.finish();
        dataplane
    }
}

fn read_interfaces(table: &mut Table<'_>, device: DeviceKind) -> Option<Interfaces> {
    const CURE: &str = "name the interfaces: interfaces = { b4 = \"eth0\", internet = \"eth1\" }";
    if device == DeviceKind::Packet {
        table.require("interfaces", CURE);
    }
    let is_there = table.is_table("interfaces");
    let mut interfaces = table.table("interfaces");
    if !is_there {
        return None;
    }
    let b4 = interfaces.required::<String>("b4", CURE);
    let internet = interfaces.required::<String>("internet", CURE);
    for (key, name) in [("b4", &b4), ("internet", &internet)] {
        if let Some(name) = name {
            check_name(&interfaces, key, name, "eth0");
        }
    }
    interfaces.finish();
    Some(Interfaces { b4: b4?, internet: internet? })
}

fn check_name(table: &Table<'_>, key: &str, name: &str, example: &str) {
    if !is_interface_name(name) {
        let cure = format!("write 1 to {MOST_NAME} characters without space, '/' and ':', as \"{example}\"");
        table.report().wrong_value(&table.key(key), "is no interface name for Linux", cure);
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
