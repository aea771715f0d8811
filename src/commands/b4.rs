//! `aftr b4`: a B4 in user space.

use std::net::Ipv6Addr;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;

use crate::b4::{B4, Options};

/// Arguments of `aftr b4`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The AFTR's IPv6 address
    #[arg(long, value_name = "ADDRESS")]
    aftr: Ipv6Addr,
    /// Our end of the softwire [default: the kernel's choice]
    #[arg(long, value_name = "ADDRESS")]
    local: Option<Ipv6Addr>,
    /// Name of the tun interface
    #[arg(long, value_name = "NAME", default_value = "b4")]
    interface: String,
    /// MTU of the tun: larger inner packets are not carried; the kernel fragments the outer one
    #[arg(long, value_name = "BYTES", default_value_t = 1500, value_parser = clap::value_parser!(u16).range(1280..=65495))]
    mtu: u16,
    /// Leave the IPv4 default route alone
    #[arg(long)]
    no_default_route: bool,
}

/// Runs until it is told to stop.
///
/// # Errors
/// What this host lacks.
pub fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let b4 = B4::open(&Options {
        aftr: arguments.aftr,
        local: arguments.local,
        interface: arguments.interface.clone(),
        mtu: arguments.mtu,
        default_route: !arguments.no_default_route,
    })?;
    eprintln!("aftr b4: softwire to {}, IPv4 through {}", arguments.aftr, arguments.interface);
    let stop = Arc::new(AtomicBool::new(false));
    let tunnel = {
        let stop = Arc::clone(&stop);
        std::thread::Builder::new().name("b4".into()).spawn(move || {
            let outcome = b4.run(&stop);
            stop.store(true, Ordering::Relaxed);
            outcome
        })?
    };
    wait_for_a_signal(&stop)?;
    stop.store(true, Ordering::Relaxed);
    tunnel.join().map_err(|_| anyhow::anyhow!("the tunnel panicked"))?.context("the tunnel ended")?;
    Ok(ExitCode::SUCCESS)
}

/// Returns when the process is told to stop, or the tunnel has ended.
fn wait_for_a_signal(ended: &AtomicBool) -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        while !ended.load(Ordering::Relaxed) {
            tokio::select! {
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                () = tokio::time::sleep(std::time::Duration::from_millis(500)) => {}
            }
        }
        Ok(())
    })
}
