//! The thread that answers ARP and ND for our addresses.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread::JoinHandle;

use rustix::event::{PollFd, PollFlags, poll};

use super::wake::Wake;
use crate::io::packet::filter::Ours;
use crate::io::packet::{Proxy, Published};

/// The running thread. Dropping it stops it.
pub(super) struct Proxies {
    orders: Option<Sender<(u32, Ours)>>,
    wake: Wake,
    thread: Option<JoinHandle<()>>,
}

impl Proxies {
    /// Starts it; each proxy comes with the number of its interface.
    pub(super) fn start(proxies: Vec<(u32, Proxy)>, published: Arc<Published>) -> io::Result<Proxies> {
        let wake = Wake::new()?;
        let (orders, received) = channel();
        let hears = wake.clone();
        let thread = std::thread::Builder::new()
            .name("aftr-proxy".into())
            .spawn(move || answer_until_told(proxies, &published, &hears, &received))?;
        Ok(Proxies { orders: Some(orders), wake, thread: Some(thread) })
    }

    /// Changes what is answered for at an interface.
    pub(super) fn set_ours(&self, interface: u32, ours: Ours) {
        if let Some(orders) = &self.orders {
            let _ = orders.send((interface, ours));
            self.wake.ring();
        }
    }
}

impl Drop for Proxies {
    fn drop(&mut self) {
        self.orders = None;
        self.wake.ring();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn answer_until_told(
    mut proxies: Vec<(u32, Proxy)>,
    published: &Published,
    wake: &Wake,
    orders: &Receiver<(u32, Ours)>,
) {
    loop {
        let questions = proxies.iter().flat_map(|(_, proxy)| proxy.descriptors());
        let mut descriptors: Vec<PollFd<'_>> =
            questions.map(|question| PollFd::from_borrowed_fd(question, PollFlags::IN)).collect();
        descriptors.push(PollFd::new(wake, PollFlags::IN));
        if let Err(error) = poll(&mut descriptors, None)
            && error != rustix::io::Errno::INTR
        {
            tracing::error!(%error, "ARP and ND are answered no more");
            return;
        }
        wake.hush();
        loop {
            match orders.try_recv() {
                Ok((interface, ours)) => {
                    let there = proxies.iter_mut().filter(|(number, _)| *number == interface);
                    there.for_each(|(_, proxy)| proxy.set_ours(ours.clone()));
                }
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => return,
            }
        }
        let current = published.current();
        for (interface, proxy) in &mut proxies {
            if let Some(&own) = current.own.get(interface) {
                proxy.answer(own);
            }
        }
    }
}
