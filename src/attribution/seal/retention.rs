//! The end of the retention time: files are removed, and the catalogue says so.

use std::fs;
use std::io;

use super::catalogue::{Catalogue, Partition};
use crate::attribution::directory::Directory;
use crate::attribution::record::Millis;

/// Removes partitions whose last moment is before `horizon`. Gives those that are gone.
///
/// # Errors
/// Files that cannot be removed, or a catalogue that cannot be written.
pub fn expire(directory: &Directory, horizon: Millis, now: Millis) -> io::Result<Vec<Partition>> {
    let mut gone = Vec::new();
    for partition in Catalogue::read(&directory.catalogue())?.partitions {
        if partition.to >= horizon {
            continue;
        }
        // First the line: a partition that is in the catalogue has its files.
        partition.expire_in(&directory.catalogue(), now)?;
        for file in [directory.intervals(&partition.name), directory.marks(&partition.name)] {
            match fs::remove_file(file) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        gone.push(partition);
    }
    Ok(gone)
}
