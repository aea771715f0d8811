//! `tls` of a target: both ends prove who they are, or nothing is sent (RFC 7011 section 11.3, RFC 5425).

use std::path::PathBuf;

use toml::de::DeValue;

use crate::reader::{Table, Value, Wrong, string};
use crate::target::AbsolutePath;

/// `tls`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// `ca-file`: PEM; who may have signed the certificate of the target.
    pub ca_file: PathBuf,
    /// `certificate-file`: PEM; ours, and those between it and the CA that the target trusts.
    pub certificate_file: PathBuf,
    /// `key-file`: PEM; of our certificate.
    pub key_file: PathBuf,
    /// `server-name`: the DNS name or the address that the target's certificate must be for; default its `address`.
    pub server_name: Option<String>,
}

pub(crate) fn read_tls(table: &mut Table<'_>) -> Option<Tls> {
    const CA: &str = "name the file of the CA that signed the target's certificate";
    const CERTIFICATE: &str = "name the file of our certificate: the target checks who sends";
    const KEY: &str = "name the file of our certificate's key";
    const TABLE: &str = "write tls = { ca-file = \"…\", certificate-file = \"…\", key-file = \"…\" }";
    let is_there = table.is_table("tls");
    let mut tls = table.table_or("tls", TABLE);
    if is_there {
        tls.require("ca-file", CA);
        tls.require("certificate-file", CERTIFICATE);
        tls.require("key-file", KEY);
    }
    let ca: Option<AbsolutePath> = tls.optional("ca-file");
    let certificate: Option<AbsolutePath> = tls.optional("certificate-file");
    let key: Option<AbsolutePath> = tls.optional("key-file");
    let server_name: Option<ServerName> = tls.optional("server-name");
    tls.finish();
    Some(Tls {
        ca_file: ca?.0,
        certificate_file: certificate?.0,
        key_file: key?.0,
        server_name: server_name.map(|ServerName(name)| name),
    })
}

/// A DNS name of RFC 1123, or an address.
struct ServerName(String);

impl Value for ServerName {
    fn read(value: &DeValue<'_>) -> Result<ServerName, Wrong> {
        const WHAT: &str = "a DNS name, as \"collector.example.net\", or an address";
        let text = string(value, WHAT)?;
        let is_label = |label: &str| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-')
        };
        let is_name = text.len() <= 253 && text.split('.').all(is_label);
        if is_name || text.parse::<std::net::IpAddr>().is_ok() {
            Ok(ServerName(text.to_owned()))
        } else {
            Err(Wrong::new("is no name of a certificate", format!("write {WHAT}")))
        }
    }
}
