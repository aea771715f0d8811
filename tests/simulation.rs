//! The whole engine against a slow reference model, in stories that a seed makes: homes, hosts, servers,
//! errors, garbage and time. After each step every byte that left is what the model expects, and the
//! invariants of the catalogue's section 15 hold.
//!
//! `SIMULATION_STEPS=100000000 SIMULATION_SEED=1 cargo test --release --test simulation -- --nocapture`
//! runs longer. A story that fails is cut down to the steps that matter and told.

#[path = "rfc/bed.rs"]
#[allow(dead_code, reason = "the requirement tests use all of it")]
mod bed;
#[path = "simulation/build.rs"]
mod build;
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
#[path = "simulation/model.rs"]
mod model;
#[path = "simulation/nat.rs"]
mod nat;
#[path = "simulation/pieces.rs"]
mod pieces;
#[path = "simulation/receivers.rs"]
mod receivers;
#[path = "simulation/sessions.rs"]
mod sessions;
#[path = "simulation/story.rs"]
mod story;
#[path = "simulation/teller.rs"]
mod teller;
#[path = "simulation/whole.rs"]
mod whole;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

use aftr::engine::{Config, TtlBy};
use judge::{Difference, Judge};
use story::Step;
use teller::Teller;

/// Steps of one story: long enough for tables to fill, and for days to pass.
const STORY: u64 = 20_000;
/// How many configurations there are.
const VARIANTS: usize = 6;

/// The configurations that stories play under.
fn variant(number: usize) -> (Config, TtlBy) {
    const TIGHT: &str = "external-port-range = [1024, 1279]\n\
        port-set = { port-set-size = 64, max-port-sets = 2, port-set-timeout = 60 }\n\
        port-quota = { tcp = 9, udp = 12, icmp = 4, new-mappings-per-second = 3, new-mappings-burst = 8 }";
    const ONE_ADDRESS: &str =
        "[[nat.external-ip-address-pool]]\npool-id = 1\nexternal-ip-pool = [\"192.0.2.1\"]";
    const LIMITS: &str = "[nat.session-limits]\nlimit-per-mapping = 3\nlimit-per-subscriber = 12\n\
        inbound-half-open-per-mapping = 1\ninbound-half-open-per-subscriber = 2";
    match number {
        0 => (bed::config("", "", ""), TtlBy::Engine),
        1 => (bed::config("", "filtering-type = \"address-dependent\"", ""), TtlBy::Kernel),
        2 => (bed::config("", "filtering-type = \"address-and-port-dependent\"", LIMITS), TtlBy::Engine),
        3 => (bed::config("", TIGHT, ONE_ADDRESS), TtlBy::Engine),
        4 => (bed::config("max-softwires-per-subscriber = 2", "", LIMITS), TtlBy::Kernel),
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
    let stories = steps.div_ceil(STORY);
    let next = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let story = next.fetch_add(1, Ordering::Relaxed);
                    if story >= stories {
                        return;
                    }
                    play(first + story, fixed.map_or(story as usize % VARIANTS, |fixed| fixed as usize));
                    if story % 500 == 499 {
                        println!("{} steps, up to seed {}", (story + 1) * STORY, first + story);
                    }
                }
            });
        }
    });
    println!("{} steps in {stories} stories, seeds {first} to {}", stories * STORY, first + stories - 1);
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

fn play(seed: u64, variant: usize) {
    let steps = write(seed);
    let Some((at, difference)) = first_difference(&steps, variant) else { return };
    let silent = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let cut = cut_down(steps[..=at].to_vec(), |steps| first_difference(steps, variant).is_some());
    std::panic::set_hook(silent);
    let told: Vec<String> = cut.iter().map(Step::to_string).collect();
    let last = first_difference(&cut, variant).map_or(difference, |(_, difference)| difference);
    panic!(
        "seed {seed}, configuration {variant}, step {at}; cut down to {} steps:\n{}\n{last}\n\
         again: SIMULATION_SEED={seed} SIMULATION_VARIANT={variant} SIMULATION_STEPS=1",
        cut.len(),
        told.join("\n")
    );
}

/// Where engine and model part. A panic is a difference, too.
fn first_difference(steps: &[Step], variant: usize) -> Option<(usize, Difference)> {
    let mut judge = Judge::new(variant);
    steps.iter().enumerate().find_map(|(at, &step)| {
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            judge.step(step).and_then(|()| if at + 1 == steps.len() { judge.silence() } else { Ok(()) })
        }));
        match outcome {
            Ok(Ok(())) => None,
            Ok(Err(difference)) => Some((at, difference)),
            Err(panic) => {
                let text = panic.downcast_ref::<String>().cloned();
                Some((at, text.unwrap_or_else(|| "panic".to_owned())))
            }
        }
    })
}

/// The shortest story it can find that still fails: pieces are left out, ever smaller ones.
fn cut_down(mut steps: Vec<Step>, fails: impl Fn(&[Step]) -> bool) -> Vec<Step> {
    let mut size = steps.len() / 2;
    while size > 0 {
        let mut start = 0;
        while start < steps.len() {
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
