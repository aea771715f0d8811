//! Datagrams to a collector that is not there yet.

use std::net::UdpSocket;

use aftr_config::Config;

use super::*;
use crate::export::instance::Instance;
use crate::export::message::tests::assorted;

/// A record waits; what one step sends is counted.
fn step(datagrams: &mut Datagrams, instance: &Instance, millis: u64) -> u64 {
    let before = datagrams.counters.messages.load(Ordering::Relaxed);
    datagrams.queue.push(&assorted(1), millis);
    let now = Now { monotonic: Instant::from_millis(millis), unix_millis: millis };
    let counters = Arc::clone(&datagrams.counters);
    datagrams.step(&Surroundings { instance, loss: counters.loss(), quality: None }, now);
    counters.messages.load(Ordering::Relaxed) - before
}

/// RFC 7011 section 8.4: a collector that starts late gets the templates before its first record, and a port that
/// stays deaf gets them once a second at most.
#[test]
fn templates_come_before_the_next_record_when_nobody_listened() {
    let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let config = Config::parse(&format!(
        "[softwire]\naftr-ipv6-addr = ['2001:db8:aaaa::1']\n[[nat.external-ip-address-pool]]\npool-id = 7\n\
         external-ip-pool = ['198.51.100.0/28']\n[[ipfix.collector]]\naddress = '127.0.0.1'\nport = {port}\n\
         preset = 'pmacct'\n"
    ))
    .unwrap();
    let instance = Instance::of(&config, "aftr");
    let collector = &config.export.collectors[0];
    let queue = Arc::new(Queue::new(1 << 20, 100));
    let counters = Arc::new(Counters::new("ipfix", link::address(&collector.target), Arc::clone(&queue)));
    let form = Form::of_collector(collector, 1, &instance);
    let mut datagrams = Datagrams::new(&collector.target, form, 600, queue, counters);

    let first = step(&mut datagrams, &instance, 0);
    assert!(first > 1, "templates and a record");
    assert_eq!(step(&mut datagrams, &instance, 999), 1, "a record alone");
    let listens = UdpSocket::bind(("127.0.0.1", port)).unwrap();
    assert_eq!(step(&mut datagrams, &instance, 1000), first);
    let mut octets = [0; 2048];
    let most = listens.recv(&mut octets).unwrap();
    assert_eq!((octets[16..18].to_vec(), most > 18), (vec![0, 2], true), "the first set is one of templates");
    assert_eq!(step(&mut datagrams, &instance, 5000), 1, "who listens has them");
}
