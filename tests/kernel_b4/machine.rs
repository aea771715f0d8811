//! The emulated machine: no KVM, no disk, no network interface; a kernel, a file system in memory and a
//! serial console.

use std::fmt;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::Context;

const QEMU: &str = "qemu-system-x86_64";

/// What `run` calls.
pub(crate) fn tools() -> Result<(), String> {
    crate::image::find_all(&[QEMU])
}

/// What the guest said, with the time of each line since the machine was switched on.
pub(crate) struct Console {
    lines: Vec<(Duration, String)>,
}

impl Console {
    /// What the guest said about a case: `ok …` or `FAILED …`.
    pub(crate) fn verdict(&self, case: &str) -> Option<&str> {
        self.lines
            .iter()
            .find_map(|(_, line)| line.strip_prefix("CASE ")?.strip_prefix(case)?.strip_prefix(' '))
    }

    pub(crate) fn has_line(&self, text: &str) -> bool {
        self.lines.iter().any(|(_, line)| line == text)
    }
}

impl fmt::Display for Console {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines.iter().try_for_each(|(time, line)| writeln!(f, "{:6.1} {line}", time.as_secs_f64()))
    }
}

/// Switches the machine on and reads its console until it switches itself off or time is up.
///
/// # Errors
/// When the emulation cannot be started.
#[expect(clippy::disallowed_methods, reason = "a test looks at the clock")]
pub(crate) fn run(kernel: &Path, image: &Path, patience: Duration) -> anyhow::Result<Console> {
    let start = Instant::now();
    let mut machine = Machine::start(kernel, image)?;
    let lines = machine.lines()?;
    let mut console = Console { lines: Vec::new() };
    loop {
        let left = patience.saturating_sub(start.elapsed());
        match lines.recv_timeout(left) {
            Ok(line) => console.lines.push((start.elapsed(), line)),
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                console.lines.push((start.elapsed(), format!("still running after {patience:?}: ended")));
                break;
            }
        }
    }
    Ok(console)
}

/// A running emulation, which ends with this value.
struct Machine {
    process: Child,
}

impl Machine {
    fn start(kernel: &Path, image: &Path) -> anyhow::Result<Machine> {
        let process = Command::new(QEMU)
            .args(["-accel", "tcg,thread=multi", "-cpu", "max", "-m", "2048", "-smp", "2"])
            .args(["-nographic", "-no-reboot", "-nic", "none"])
            .args(["-append", "console=ttyS0 quiet panic=1"])
            .arg("-kernel")
            .arg(kernel)
            .arg("-initrd")
            .arg(image)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context(QEMU)?;
        Ok(Machine { process })
    }

    fn lines(&mut self) -> anyhow::Result<Receiver<String>> {
        let mut output = BufReader::new(self.process.stdout.take().context("the console")?);
        let (sender, receiver) = channel();
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            // Firmware writes what is no text.
            while output.read_until(b'\n', &mut bytes).is_ok_and(|count| count > 0) {
                let line = String::from_utf8_lossy(&bytes).trim_end().to_owned();
                bytes.clear();
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Ok(receiver)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
