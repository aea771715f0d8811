//! Debian's cloud kernel: its package is fetched and unpacked below `target/`, and never installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, ensure};

use crate::image::{find, find_all};

/// Depends on the package of the kernel of the day.
const PACKAGE: &str = "linux-image-cloud-amd64";

/// An unpacked kernel.
pub(crate) struct Kernel {
    /// What the machine boots.
    pub(crate) file: PathBuf,
    root: PathBuf,
    release: String,
}

/// What `Kernel::fetch` calls.
pub(crate) fn tools() -> Result<(), String> {
    find_all(&["apt-get", "apt-cache", "dpkg", "depmod", "modprobe"])
}

impl Kernel {
    /// Takes the kernel that `folder` has, or fetches it.
    ///
    /// # Errors
    /// When it has none and none can be had: no package lists, no way to the mirror, or not Debian on amd64.
    pub(crate) fn fetch(folder: &Path) -> anyhow::Result<Kernel> {
        let root = folder.join("kernel");
        if !root.exists() {
            let fresh = folder.join("kernel.unfinished");
            let _ = fs::remove_dir_all(&fresh);
            fs::create_dir_all(&fresh)?;
            unpack(&fresh)?;
            fs::rename(&fresh, &root)?;
        }
        let release = release(&root)?;
        Ok(Kernel { file: root.join(format!("boot/vmlinuz-{release}")), root, release })
    }

    /// The files of these modules and of all that they need, in the order to load them in.
    ///
    /// # Errors
    /// When the kernel has no such module.
    pub(crate) fn modules(&self, names: &[&str]) -> anyhow::Result<Vec<PathBuf>> {
        let mut files: Vec<PathBuf> = Vec::new();
        for name in names {
            let output = run(Command::new(find("modprobe")?)
                .arg("--dirname")
                .arg(&self.root)
                .arg("--set-version")
                .arg(&self.release)
                .args(["--show-depends", name]))?;
            for line in String::from_utf8(output.stdout)?.lines() {
                let file = line.strip_prefix("insmod ").map(|file| PathBuf::from(file.trim()));
                files.extend(file.filter(|file| !files.contains(file)));
            }
        }
        Ok(files)
    }
}

fn unpack(root: &Path) -> anyhow::Result<()> {
    let unknown = || format!("apt knows no {PACKAGE} (`apt-get update`, on Debian for amd64)");
    let output =
        run(Command::new("apt-cache").args(["depends", "--important", PACKAGE])).with_context(unknown)?;
    let depends = String::from_utf8(output.stdout)?;
    let package = depends
        .split_whitespace()
        .find(|word| word.starts_with("linux-image-") && *word != PACKAGE)
        .with_context(unknown)?;
    run(Command::new("apt-get").args(["download", "-qq", package]).current_dir(root))?;
    let archive = fs::read_dir(root)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|ending| ending == "deb"))
        .context("apt-get fetched nothing")?;
    run(Command::new("dpkg").arg("-x").args([&archive, root]))?;
    fs::remove_file(archive)?;
    run(Command::new(find("depmod")?).arg("-b").arg(root).arg(release(root)?))?;
    Ok(())
}

fn release(root: &Path) -> anyhow::Result<String> {
    let mut releases = fs::read_dir(root.join("lib/modules"))?;
    let entry = releases.next().context("the kernel's package has no modules")??;
    Ok(entry.file_name().to_string_lossy().into_owned())
}

/// Runs a program whose failure is ours.
///
/// # Errors
/// When it cannot be started or says that it failed.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<Output> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(output)
}
