//! What the tests of the journal share.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use aftr::attribution::wal::WallClock;
use aftr::attribution::{Directory, EndCause, Holding, Journal, Millis, Record};

/// 2026-11-21T12:00:00Z
pub(crate) const NOON: Millis = 1_795_262_400_000;

/// An empty folder that goes when the test ends.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("aftr-{name}-{}", std::process::id()));
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

/// The clock of this host.
#[derive(Clone, Copy)]
pub(crate) struct HostClock;

impl WallClock for HostClock {
    #[expect(clippy::disallowed_methods, reason = "a test in real time")]
    fn now(&self) -> Millis {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as Millis
    }
}

/// Block `number` of 126 an address, held by a subscriber of the same number.
pub(crate) fn block(number: u32) -> Holding {
    let first_port = 1024 + (number % 126) as u16 * 512;
    Holding {
        external: Ipv4Addr::from_bits(0xc612_0000 + number / 126),
        first_port,
        last_port: first_port + 511,
        protocol: 0,
        b4: Ipv6Addr::from_bits(0x2001_0db8_00b4 << 80 | u128::from(number) << 64 | 1),
        prefix_len: 64,
        pool_id: 1,
        instance: 0,
        internal: None,
    }
}

pub(crate) fn started(at: Millis, number: u32) -> Record {
    Record::Started { at, since: at, holding: block(number) }
}

pub(crate) fn ended(at: Millis, since: Millis, number: u32) -> Record {
    Record::Ended { at, since, holding: block(number), cause: EndCause::Idle }
}

/// A journal of two hours, of which the first is sealed; three subscribers follow each other.
pub(crate) fn small_journal(path: &Path) -> Directory {
    let directory = Directory::new(path);
    let (journal, recovered) = Journal::open(&directory, NOON).unwrap();
    let mut log = recovered.log;
    let mut write = |at: Millis, records: &[Record]| {
        log.append(at, records);
        log.sync(at).unwrap();
    };
    write(NOON, &[started(NOON, 1), started(NOON, 2)]);
    write(NOON + 60_000, &[ended(NOON + 60_000, NOON, 1)]);
    let (again, hour) = (NOON + 600_000, NOON + 3_600_000);
    let Record::Started { holding, .. } = started(again, 3) else { unreachable!() };
    // The third subscriber has the ports of the first.
    let holding = Holding { first_port: block(1).first_port, last_port: block(1).last_port, ..holding };
    write(again, &[Record::Started { at: again, since: again, holding }]);
    write(hour, &[Record::Alive { at: hour }]);
    write(hour + 1000, &[Record::Alive { at: hour + 1000 }]);
    let tidied = journal.tidy(180, hour + 2000).unwrap();
    assert_eq!(tidied.sealing.partitions.len(), 1);
    directory
}

/// One ignored test of this program, in a process of its own.
pub(crate) fn child(name: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", name, "--ignored", "--nocapture"]);
    command
}
