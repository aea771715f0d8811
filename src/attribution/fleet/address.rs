//! Where a ClickHouse is: `clickhouse://[user[:password]@]host[:port]/[database]`; `clickhouses://` with TLS.

use std::fmt;
use std::str::FromStr;

/// A ClickHouse, and the database in it.
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    /// By TLS.
    pub is_secure: bool,
    /// `default` where none is given.
    pub user: String,
    /// Empty where none is given.
    pub password: String,
    /// Name or address, IPv6 in brackets.
    pub host: String,
    /// Of HTTP: 8123, with TLS 8443, where none is given.
    pub port: u16,
    /// `aftr` where none is given.
    pub database: String,
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Address, String> {
        let wrong = |why: &str| format!("{why}: write clickhouse://[user[:password]@]host[:port]/[database]");
        let (scheme, rest) = text.split_once("://").ok_or_else(|| wrong("it has no scheme"))?;
        let is_secure = match scheme {
            "clickhouse" => false,
            "clickhouses" => true,
            _ => return Err(wrong("only clickhouse:// and, with TLS, clickhouses:// are known")),
        };
        let (place, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (who, place) = place.rsplit_once('@').unwrap_or(("", place));
        let (user, password) = who.split_once(':').unwrap_or((who, ""));
        let (host, port) = match place.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => {
                (host, port.parse().map_err(|_| wrong("its port is no number up to 65535"))?)
            }
            _ => (place, if is_secure { 8443 } else { 8123 }),
        };
        let is_host = |octet: u8| octet.is_ascii_alphanumeric() || b".-_:[]%".contains(&octet);
        if host.is_empty() || !host.bytes().all(is_host) {
            return Err(wrong("it has no host"));
        }
        if !path.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'_') {
            return Err(wrong("a database has letters, digits and _ only"));
        }
        let or = |text: &str, other: &str| if text.is_empty() { other.to_owned() } else { text.to_owned() };
        let plain = |text| unescape(text).ok_or_else(|| wrong("% needs two hexadecimal digits"));
        Ok(Address {
            is_secure,
            user: or(&plain(user)?, "default"),
            password: plain(password)?,
            host: host.to_owned(),
            port,
            database: or(path, "aftr"),
        })
    }
}

/// Without the password.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Address { is_secure, user, host, port, database, .. } = self;
        let secure = if *is_secure { "s" } else { "" };
        write!(f, "clickhouse{secure}://{user}@{host}:{port}/{database}")
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// `%40` is `@` (RFC 3986 section 2.1).
fn unescape(text: &str) -> Option<String> {
    let mut octets = Vec::new();
    let mut rest = text.bytes();
    while let Some(octet) = rest.next() {
        let digit = |octet: Option<u8>| char::from(octet?).to_digit(16);
        octets.push(match octet {
            b'%' => (digit(rest.next())? * 16 + digit(rest.next())?) as u8,
            other => other,
        });
    }
    String::from_utf8(octets).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_defaults_and_hides_its_password() {
        let short: Address = "clickhouse://logs.example".parse().unwrap();
        assert_eq!(short.to_string(), "clickhouse://default@logs.example:8123/aftr");
        let long: Address = "clickhouses://aftr:p%40ss:w@[2001:db8::1]:9000/cgn_1".parse().unwrap();
        assert_eq!(long.to_string(), "clickhouses://aftr@[2001:db8::1]:9000/cgn_1");
        assert_eq!((long.password.as_str(), long.is_secure), ("p@ss:w", true));
        let bare: Address = "clickhouses://u@[2001:db8::1]/".parse().unwrap();
        assert_eq!((bare.host.as_str(), bare.port), ("[2001:db8::1]", 8443));
    }

    #[test]
    fn a_wrong_address_is_told_how_it_is_written() {
        for (wrong, why) in [
            ("logs.example", "no scheme"),
            ("http://logs.example/", "only clickhouse://"),
            ("clickhouse:///aftr", "no host"),
            ("clickhouse://a:99999/", "no number up to 65535"),
            ("clickhouse://a/x;drop", "letters, digits"),
            ("clickhouse://%zz@a/", "two hexadecimal digits"),
        ] {
            let told = wrong.parse::<Address>().unwrap_err();
            assert!(told.contains(why) && told.contains("[database]"), "{told}");
        }
    }
}
