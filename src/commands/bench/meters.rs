//! CPU time and CPUs.
//!
//! A thread's time is what the scheduler counts for it. Where the kernel does not account for interrupts by
//! themselves (most do not), that includes the packets that it forwards in softirq context while the
//! thread's system call ends, or in an interrupt that hits the thread; what ksoftirqd forwards is counted
//! for ksoftirqd. Whose packets those were cannot be told.

use std::fs;
use std::time::Duration;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The CPU time that a thread of this process, or one of the kernel's, has used; zero when it has ended.
pub(super) fn thread_time(thread: i32) -> Duration {
    let of_ours = run_time(&format!("/proc/self/task/{thread}/schedstat"));
    of_ours.or_else(|| run_time(&format!("/proc/{thread}/schedstat"))).unwrap_or_default()
}

/// The number of the calling thread.
pub(super) fn this_thread() -> i32 {
    rustix::thread::gettid().as_raw_nonzero().get()
}

/// The threads of this process, and those that the kernel has for single interfaces.
pub(super) fn threads() -> Vec<i32> {
    let mut threads = numbers("/proc/self/task");
    threads.extend(processes("napi/"));
    threads
}

/// The kernel's own packet threads.
pub(super) struct Softirqs(Vec<i32>);

impl Softirqs {
    /// Finds them; none in a container that does not show the host's processes.
    pub(super) fn find() -> Softirqs {
        Softirqs(processes("ksoftirqd/"))
    }

    /// Whether there is something to read.
    pub(super) fn are_visible(&self) -> bool {
        !self.0.is_empty()
    }

    /// CPU time of all of them together.
    pub(super) fn time(&self) -> Duration {
        self.0.iter().copied().map(thread_time).sum()
    }
}

fn processes(prefix: &str) -> Vec<i32> {
    numbers("/proc").into_iter().filter(|&process| name(process).starts_with(prefix)).collect()
}

fn name(process: i32) -> String {
    fs::read_to_string(format!("/proc/{process}/comm")).unwrap_or_default()
}

fn numbers(folder: &str) -> Vec<i32> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// The first field of a `schedstat`, in nanoseconds.
fn run_time(path: &str) -> Option<Duration> {
    let text = fs::read_to_string(path).ok()?;
    Some(Duration::from_nanos(text.split_whitespace().next()?.parse().ok()?))
}

/// Where threads run. What there are too few CPUs for shares that of the senders, never that of the forwarder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cpus {
    /// Senders, and what they set off in the kernel: of the first direction, and of the other.
    pub(super) senders: [usize; 2],
    /// One for each worker.
    pub(super) forwarders: Vec<usize>,
    /// Everything else.
    pub(super) rest: usize,
}

impl Cpus {
    /// Chooses among the CPUs that this process may use.
    pub(super) fn choose(workers: usize) -> Cpus {
        let allowed = sched_getaffinity(None).unwrap_or_default();
        Cpus::among((0..CpuSet::MAX_CPU).filter(|&cpu| allowed.is_set(cpu)), workers)
    }

    fn among(mut usable: impl Iterator<Item = usize>, workers: usize) -> Cpus {
        let first = usable.next().unwrap_or(0);
        let mut forwarders: Vec<usize> = usable.by_ref().take(workers).collect();
        if forwarders.is_empty() {
            forwarders.push(first);
        }
        let second = usable.next().unwrap_or(first);
        Cpus { senders: [first, second], forwarders, rest: usable.next().unwrap_or(second) }
    }
}

/// Runs `work` on some CPUs; threads that it makes stay there. Where that is not allowed it runs anywhere.
pub(super) fn on_cpus<T>(cpus: &[usize], work: impl FnOnce() -> T) -> T {
    let before = sched_getaffinity(None);
    pin(cpus);
    let result = work();
    if let Ok(before) = before {
        let _ = sched_setaffinity(None, &before);
    }
    result
}

/// Keeps the calling thread on some CPUs.
pub(super) fn pin(cpus: &[usize]) {
    let mut set = CpuSet::new();
    cpus.iter().for_each(|&cpu| set.set(cpu));
    let _ = sched_setaffinity(None, &set);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::bench::clock;

    #[test]
    fn the_forwarder_shares_its_cpu_only_when_there_is_one() {
        let cpus = |usable: &[usize], workers| {
            let Cpus { senders, forwarders, rest } = Cpus::among(usable.iter().copied(), workers);
            (senders, forwarders, rest)
        };
        assert_eq!(cpus(&[3], 1), ([3, 3], vec![3], 3));
        assert_eq!(cpus(&[0, 1], 1), ([0, 0], vec![1], 0));
        assert_eq!(cpus(&[0, 1, 2], 1), ([0, 2], vec![1], 2));
        assert_eq!(cpus(&[0, 2, 4, 6, 8, 9], 3), ([0, 8], vec![2, 4, 6], 9));
    }

    #[test]
    fn this_thread_has_used_some_time() {
        let mut state = 1u64;
        let worked = clock::now();
        while worked.elapsed() < Duration::from_millis(50) {
            state = std::hint::black_box(state.wrapping_mul(3));
        }
        assert!(thread_time(this_thread()) > Duration::ZERO);
    }
}
