//! What the tests of this folder share.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::Deref;
use std::path::{Path, PathBuf};

use super::record::Holding;

/// An empty folder that goes when the test ends.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("aftr-journal-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }
}

impl Deref for Folder {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Port set number `number` of one address, held by subscriber `number`.
pub(crate) fn holding(number: u16) -> Holding {
    Holding {
        external: Ipv4Addr::new(198, 51, 100, 1),
        first_port: 1024 + (number % 126) * 512,
        last_port: 1024 + (number % 126) * 512 + 511,
        protocol: 0,
        b4: Ipv6Addr::new(0x2001, 0xdb8, 0xb4, number, 0, 0, 0, 1),
        prefix_len: 64,
        pool_id: 1,
        instance: 0,
        internal: None,
    }
}
