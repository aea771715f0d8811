//! Where things stand in a journal's directory.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

/// A journal's directory.
#[derive(Debug, Clone)]
pub struct Directory(PathBuf);

impl Directory {
    /// The directory at `path`, which need not be there.
    #[must_use]
    pub fn new(path: &Path) -> Directory {
        Directory(path.to_owned())
    }

    /// The directory itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn wal(&self) -> PathBuf {
        self.0.join("wal")
    }

    pub(crate) fn sealed(&self) -> PathBuf {
        self.0.join("sealed")
    }

    pub(crate) fn intervals(&self, name: &str) -> PathBuf {
        self.sealed().join(format!("{name}.parquet"))
    }

    pub(crate) fn marks(&self, name: &str) -> PathBuf {
        self.sealed().join(format!("{name}.marks"))
    }

    pub(crate) fn configuration(&self, digest: impl std::fmt::Display) -> PathBuf {
        self.0.join("configurations").join(format!("{digest}.toml"))
    }

    pub(crate) fn aside(&self) -> PathBuf {
        self.0.join("aside")
    }

    pub(crate) fn catalogue(&self) -> PathBuf {
        self.0.join("catalogue")
    }

    /// The record of queries.
    #[must_use]
    pub fn audit(&self) -> PathBuf {
        self.0.join("audit")
    }

    /// Makes the directory, and this process its only writer for as long as the file lives.
    pub(crate) fn lock(&self) -> io::Result<File> {
        for folder in [self.sealed(), self.wal(), self.0.join("configurations")] {
            fs::create_dir_all(folder)?;
        }
        let path = self.0.join("lock");
        if !path.exists() {
            File::create(&path)?;
        }
        // Not for writing: a disk on which nothing else is open can still be made read-only.
        let file = File::open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(TryLockError::WouldBlock) => {
                let why = format!("the journal {} has another writer", self.0.display());
                Err(io::Error::new(io::ErrorKind::ResourceBusy, why))
            }
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}
