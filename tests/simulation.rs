//! The whole engine against a slow reference model, in stories that a seed makes: homes, hosts, servers,
//! errors, garbage and time. After each step every byte that left is what the model expects, and the
//! invariants of the catalogue's section 15 hold.
//!
//! `SIMULATION_STEPS=100000000 SIMULATION_SEED=1 cargo test --release --test simulation -- --nocapture`
//! runs longer. A story that fails is cut down to the steps that matter and told.

mod again;
#[path = "rfc/bed.rs"]
#[allow(dead_code, reason = "the requirement tests use all of it")]
mod bed;
#[path = "simulation/build.rs"]
mod build;
#[path = "simulation/chain.rs"]
mod chain;
#[path = "simulation/clock.rs"]
mod clock;
#[path = "simulation/compare.rs"]
mod compare;
#[path = "simulation/dice.rs"]
mod dice;
#[path = "simulation/errors.rs"]
mod errors;
#[path = "simulation/from_b4.rs"]
mod from_b4;
#[path = "simulation/from_internet.rs"]
mod from_internet;
#[path = "simulation/hostile.rs"]
mod hostile;
#[path = "simulation/ip.rs"]
mod ip;
#[path = "simulation/judge.rs"]
mod judge;
#[path = "simulation/left.rs"]
mod left;
#[path = "simulation/limits.rs"]
mod limits;
#[path = "simulation/model.rs"]
mod model;
#[path = "simulation/nat.rs"]
mod nat;
#[path = "simulation/pass_through.rs"]
mod pass_through;
#[path = "simulation/pieces.rs"]
mod pieces;
#[path = "simulation/receivers.rs"]
mod receivers;
#[path = "simulation/sessions.rs"]
mod sessions;
#[path = "simulation/story.rs"]
mod story;
#[path = "simulation/tally.rs"]
mod tally;
#[path = "simulation/teller.rs"]
mod teller;
#[path = "simulation/tunnel.rs"]
mod tunnel;
#[path = "simulation/whole.rs"]
mod whole;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use aftr::engine::{Config, Counters, TtlBy};
use judge::{Difference, Judge};
use story::Step;
use tally::Tally;
use teller::Teller;

/// Steps of one story: long enough for tables to fill, and for days to pass.
const STORY: u64 = 20_000;
/// How often a story that fails is tried in a shorter form.
const MOST_TRIALS: usize = 3_000;
/// How many configurations there are.
const VARIANTS: usize = 13;
/// Those whose limits are one subscriber's: the model of one worker is that of several.
const FOR_SEVERAL_WORKERS: [usize; 9] = [0, 1, 2, 3, 4, 5, 7, 11, 12];

/// The configurations that stories play under.
fn variant(number: usize) -> (Config, TtlBy) {
    const TIGHT: &str = "external-port-range = [1024, 1279]\n\
        port-set = { port-set-size = 64, max-port-sets = 2, port-set-timeout = 60 }\n\
        port-quota = { tcp = 9, udp = 12, icmp = 4, new-mappings-per-second = 3, new-mappings-burst = 8 }";
    const ONE_ADDRESS: &str =
        "[[nat.external-ip-address-pool]]\npool-id = 1\nexternal-ip-pool = [\"192.0.2.1\"]";
    const LIMITS: &str = "[nat.session-limits]\nlimit-per-mapping = 3\nlimit-per-subscriber = 12\n\
        inbound-half-open-per-mapping = 1\ninbound-half-open-per-subscriber = 2";
    const FEW_PIECES: &str = "[nat.fragments]\nlimit-per-subscriber = 4\nlimit = 12\n\
        [softwire.reassembly]\nlimit-per-subscriber = 4\nlimit = 12";
    const FEW_OCTETS: &str = "[nat.fragments]\noctets-per-subscriber = 131072\noctets = 262144\n\
        [softwire.reassembly]\noctets-per-subscriber = 131072\noctets = 262144";
    const FEW_ERRORS: &str = "[icmp]\nper-subscriber-rate = 1\nper-subscriber-burst = 2\nto-b4-rate = 3\n\
        to-internet-rate = 6\nicmpv6-per-source-rate = 1\nicmpv6-rate = 2\necho-per-b4-rate = 1\n\
        syn-reject-rate = 1";
    const PASS: &str = "[[nat.nat-pass-through]]\nprefix = \"203.0.113.2/32\"\n\
        [[nat.nat-pass-through]]\nprefix = \"203.0.113.3/32\"\nprotocol = \"udp\"\nport = 80";
    match number {
        0 => (bed::config("", "", ""), TtlBy::Engine),
        1 => (bed::config("", "filtering-type = \"address-dependent\"", ""), TtlBy::Kernel),
        2 => (bed::config("", "filtering-type = \"address-and-port-dependent\"", LIMITS), TtlBy::Engine),
        3 => (bed::config("", TIGHT, ONE_ADDRESS), TtlBy::Engine),
        4 => (bed::config("max-softwires-per-subscriber = 2", "", LIMITS), TtlBy::Kernel),
        6 => (bed::config("df-policy = \"honour\"\naccess-mtu = 1400", "", FEW_PIECES), TtlBy::Engine),
        7 => {
            let softwire = "df-policy = \"honour\"\nencapsulation-limit = true";
            (bed::config(softwire, "external-mtu = 576", ""), TtlBy::Kernel)
        }
        8 => (bed::config("access-mtu = 9000", "external-mtu = 9000", FEW_OCTETS), TtlBy::Engine),
        9 => {
            let nat = "external-mtu = 1400\ntimers.fragment-min-timeout = 5";
            (bed::config("access-mtu = 1280\nencapsulation-limit = true", nat, FEW_PIECES), TtlBy::Engine)
        }
        10 => {
            let nat = "syn-held-max = 7\nfiltering-type = \"address-and-port-dependent\"\nipid-strict = true\n\
                port-quota = { new-mappings-per-second = 1, new-mappings-burst = 2 }";
            (bed::config("df-policy = \"honour\"\nstate-migrate = false", nat, FEW_ERRORS), TtlBy::Engine)
        }
        11 => (bed::config("", "", PASS), TtlBy::Engine),
        12 => {
            let nat = "filtering-type = \"address-dependent\"";
            let rest = format!("{LIMITS}\n{FEW_PIECES}\n{PASS}");
            (bed::config("df-policy = \"honour\"", nat, &rest), TtlBy::Kernel)
        }
        _ => (bed::config("b4-address-change-limit = 60", TIGHT, LIMITS), TtlBy::Engine),
    }
}

#[test]
fn every_story_ends_as_the_model_says() {
    let number = |name: &str, default: u64| {
        std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
    };
    let (steps, first) = (number("SIMULATION_STEPS", 1_000_000), number("SIMULATION_SEED", 1));
    let fixed = std::env::var("SIMULATION_VARIANT").ok().and_then(|text| text.parse::<u64>().ok());
    let several = std::env::var_os("WORKERS").is_some();
    let stories = steps.div_ceil(STORY);
    let (next, tally) = (AtomicU64::new(0), Mutex::new(Tally::default()));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let story = next.fetch_add(1, Ordering::Relaxed);
                    if story >= stories {
                        return;
                    }
                    let variant = match fixed {
                        Some(fixed) => fixed as usize,
                        None if several => FOR_SEVERAL_WORKERS[story as usize % FOR_SEVERAL_WORKERS.len()],
                        None => story as usize % VARIANTS,
                    };
                    let counters = play(first + story, variant);
                    tally.lock().expect("nobody fails with it").add(&counters);
                    if story % 500 == 499 {
                        println!("{} steps, up to seed {}", (story + 1) * STORY, first + story);
                    }
                }
            });
        }
    });
    let tally = tally.into_inner().expect("nobody failed with it");
    tally.print();
    println!("{} steps in {stories} stories, seeds {first} to {}", stories * STORY, first + stories - 1);
    if stories >= 50 && fixed.is_none() && !several {
        assert_eq!(tally.missing(), Vec::<&str>::new(), "did not come up in {stories} stories");
    }
}

/// Whatever one worker does, two and four do together.
#[test]
fn stories_of_several_workers_end_the_same() {
    again::with_workers("every_story_ends_as_the_model_says");
}

/// INV-9: the same story and seed give the same bytes.
#[test]
fn a_story_told_twice_ends_the_same() {
    let digest = || {
        let mut judge = Judge::new(0);
        write(77).into_iter().take(5_000).for_each(|step| judge.step(step).expect("it holds"));
        judge.digest
    };
    assert_eq!(digest(), digest());
}

/// A model that is wrong must be noticed, and its story cut down.
#[test]
fn a_difference_is_found_and_its_story_cut_down() {
    let steps: Vec<Step> = write(5).into_iter().take(2_000).collect();
    let is_ping = |step: &Step| matches!(step, Step::Local { .. });
    let fails = |steps: &[Step]| steps.iter().filter(|step| is_ping(step)).count() >= 2;
    assert!(fails(&steps));
    let cut = cut_down(steps, fails);
    assert_eq!((cut.len(), cut.iter().all(is_ping)), (2, true));
}

fn write(seed: u64) -> Vec<Step> {
    let mut teller = Teller::new(seed);
    (0..STORY).map(|_| teller.next()).collect()
}

/// Plays a story; gives what was counted.
fn play(seed: u64, variant: usize) -> Counters {
    let steps = write(seed);
    let (at, difference) = match first_difference(&steps, variant) {
        Ok(counters) => return *counters,
        Err(found) => found,
    };
    println!("seed {seed}, configuration {variant}, step {at}: {difference}\nit is cut down now");
    let silent = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let cut = cut_down(steps[..=at].to_vec(), |steps| first_difference(steps, variant).is_err());
    std::panic::set_hook(silent);
    let told: Vec<String> = cut.iter().map(Step::to_string).collect();
    let last = first_difference(&cut, variant).err().map_or(difference, |(_, difference)| difference);
    panic!(
        "seed {seed}, configuration {variant}, step {at}; cut down to {} steps:\n{}\n{last}\n\
         again: SIMULATION_SEED={seed} SIMULATION_VARIANT={variant} SIMULATION_STEPS=1",
        cut.len(),
        told.join("\n")
    );
}

/// Where engine and model part; what was counted when they do not. A panic is a difference, too.
fn first_difference(steps: &[Step], variant: usize) -> Result<Box<Counters>, (usize, Difference)> {
    let mut judge = Judge::new(variant);
    for (at, &step) in steps.iter().enumerate() {
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            judge.step(step).and_then(|()| if at + 1 == steps.len() { judge.silence() } else { Ok(()) })
        }));
        match outcome {
            Ok(Ok(())) => {}
            Ok(Err(difference)) => return Err((at, difference)),
            Err(panic) => {
                let text = panic.downcast_ref::<String>().cloned();
                return Err((at, text.unwrap_or_else(|| "panic".to_owned())));
            }
        }
    }
    Ok(Box::new(judge.bed.aftr.counters().clone()))
}

/// The shortest story it can find that still fails: pieces are left out, ever smaller ones.
fn cut_down(mut steps: Vec<Step>, fails: impl Fn(&[Step]) -> bool) -> Vec<Step> {
    let (mut size, mut trials) = (steps.len() / 2, 0);
    while size > 0 && trials < MOST_TRIALS {
        let mut start = 0;
        while start < steps.len() && trials < MOST_TRIALS {
            trials += 1;
            let mut shorter = steps.clone();
            shorter.drain(start..(start + size).min(steps.len()));
            if fails(&shorter) {
                steps = shorter;
            } else {
                start += size;
            }
        }
        size /= 2;
    }
    steps
}
