//! The guest's first and only file system: programs of this machine with their libraries, the daemon, the
//! modules, and the script that is the guest's first process.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};

use crate::kernel::{Kernel, run};

/// Programs that the guest's script calls. busybox has small ones of the same names, so these have a folder
/// that is searched first.
const PROGRAMS: &[&str] = &["ip", "ping", "socat"];
const MODULES: &[&str] = &["ip6_tunnel", "tun", "veth"];
const GUEST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/kernel_b4/guest.sh");
const CONFIGURATION: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/kernel_b4/aftr.toml");

/// What `build` calls or copies.
pub(crate) fn tools() -> Result<(), String> {
    find_all(PROGRAMS)?;
    find_all(&["dash", "busybox", "ldd", "cpio"])?;
    // A busybox with libraries works as well; one without `insmod` or `cmp` does not.
    let applets = Command::new("busybox").arg("--list").output().map_err(|error| error.to_string())?;
    let applets = String::from_utf8_lossy(&applets.stdout).into_owned();
    ["cmp", "insmod", "poweroff", "sysctl", "timeout"]
        .iter()
        .find(|applet| !applets.lines().any(|line| line == **applet))
        .map_or(Ok(()), |applet| Err(format!("this busybox has no {applet}")))
}

/// Says which of these programs is missing.
pub(crate) fn find_all(programs: &[&str]) -> Result<(), String> {
    programs.iter().try_for_each(|program| find(program).map(drop).map_err(|error| error.to_string()))
}

/// Builds the archive that the kernel unpacks into memory.
///
/// # Errors
/// When a program has no library, or the disk no place.
pub(crate) fn build(folder: &Path, kernel: &Kernel, cases: &[String]) -> anyhow::Result<PathBuf> {
    let root = folder.join("image");
    let _ = fs::remove_dir_all(&root);
    for below in ["bin", "tools", "modules"] {
        fs::create_dir_all(root.join(below))?;
    }
    // dash: the shell of busybox prefers its own small `ip` to ours.
    program(&root, &find("dash")?, "bin/sh")?;
    program(&root, &find("busybox")?, "bin/busybox")?;
    program(&root, Path::new(env!("CARGO_BIN_EXE_aftr")), "tools/aftr")?;
    for name in PROGRAMS {
        program(&root, &find(name)?, &format!("tools/{name}"))?;
    }
    for (number, module) in kernel.modules(MODULES)?.iter().enumerate() {
        let name = module.file_name().context("a module without a name")?.to_string_lossy();
        fs::copy(module, root.join(format!("modules/{number:02}-{name}")))?;
    }
    fs::copy(GUEST, root.join("init"))?;
    fs::set_permissions(root.join("init"), fs::Permissions::from_mode(0o755))?;
    fs::copy(CONFIGURATION, root.join("aftr.toml"))?;
    fs::write(root.join("cases"), cases.join("\n") + "\n")?;
    pack(&root, folder.join("image.cpio"))
}

/// Where a program is.
pub(crate) fn find(program: &str) -> anyhow::Result<PathBuf> {
    // An ordinary user's search path may lack the folders of administration.
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
        .with_context(|| format!("`{program}` is missing"))
}

/// Copies a program, and its libraries to where it looks for them.
fn program(root: &Path, file: &Path, to: &str) -> anyhow::Result<()> {
    fs::copy(file, root.join(to)).with_context(|| format!("cannot copy {}", file.display()))?;
    let output = Command::new("ldd").arg(file).output()?;
    // A static program is "not a dynamic executable", which is a failure to ldd.
    for library in String::from_utf8(output.stdout)?.lines().filter_map(library) {
        let copy = root.join(library.strip_prefix("/")?);
        if !copy.exists() {
            fs::create_dir_all(copy.parent().context("a library without a folder")?)?;
            fs::copy(&library, copy).with_context(|| format!("cannot copy {}", library.display()))?;
        }
    }
    Ok(())
}

/// `libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f…)`, or the loader's path alone.
fn library(line: &str) -> Option<PathBuf> {
    line.split_whitespace().find(|word| word.starts_with('/')).map(PathBuf::from)
}

fn pack(root: &Path, archive: PathBuf) -> anyhow::Result<PathBuf> {
    let mut names = Vec::new();
    let found = run(Command::new("find").arg(".").current_dir(root))?;
    names.extend(found.stdout);
    let mut cpio = Command::new("cpio")
        .args(["--create", "--quiet", "--format=newc", "--owner=+0:+0"])
        .current_dir(root)
        .stdin(Stdio::piped())
        .stdout(fs::File::create(&archive)?)
        .spawn()?;
    cpio.stdin.take().context("cpio's input")?.write_all(&names)?;
    ensure!(cpio.wait()?.success(), "cpio failed");
    Ok(archive)
}
