//! An engine that packets are played into, and that one of them is explained with.

use super::counter::row_of;
use super::explanation::Explanation;
use super::packet::Ends;
use super::pieces::Pieces;
use super::scene::{Hold, Scene, State};
use super::step::walk;
use crate::commands::describe;
use crate::commands::replay::{Cause, Replay};
use crate::engine::{Config, Instant, Seed, TtlBy, Verdict};
use crate::wire::Side;

/// One run of one engine.
pub struct Player {
    replay: Replay,
    config: Config,
    ttl: TtlBy,
    pieces: Pieces,
    played: u64,
}

impl Player {
    /// At its beginning, which is the origin of time.
    #[must_use]
    pub fn new(config: &Config, ttl: TtlBy, seed: &Seed) -> Player {
        let replay = Replay::new(config, ttl, seed);
        Player { replay, config: config.clone(), ttl, pieces: Pieces::default(), played: 0 }
    }

    /// Lets time go by until `at`, then gives the engine a packet and asks nothing.
    pub fn play(&mut self, side: Side, at: Instant, bytes: &[u8]) {
        let (verdict, _) = self.give(side, at, bytes);
        self.pieces.note(side, self.replay.now(), bytes, verdict);
        self.replay.take_events();
    }

    /// The moment that the run has reached.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.replay.now()
    }

    /// Lets time go by until `at`, then gives the engine a packet and says what became of it, and why.
    pub fn explain(&mut self, side: Side, at: Instant, bytes: &[u8]) -> Explanation {
        self.replay.run_until(at);
        self.replay.take_events();
        let now = self.replay.now();
        let before = State::of(self.replay.aftr(), now);
        let (verdict, leaves) = self.give(side, at, bytes);
        let events = self.replay.take_events();
        // The buffer's own packet comes first, when there is one.
        let (output, followers) = match leaves.split_first() {
            Some((first, rest)) if verdict.leaves_to(side).is_some() => (Some(first), rest),
            _ => (None, leaves.as_slice()),
        };
        let mut scene = Scene {
            config: &self.config,
            ttl: self.ttl,
            side,
            bytes,
            whole: (side == Side::B4).then(|| self.pieces.whole(now, bytes)).flatten(),
            octets_waiting: self.pieces.octets_waiting(now, bytes),
            ends: None,
            verdict,
            output,
            followers,
            before,
            after: State::of(self.replay.aftr(), now),
            events: &events,
        };
        scene.ends = scene
            .inner()
            .and_then(|inner| Ends::of(inner).or_else(|| self.pieces.ends_of(scene.b4(), inner)))
            .filter(|_| !scene.is_icmp_error());
        let steps = walk(&scene);
        let told = told(&scene);
        let otherwise = scene.hold().and_then(Hold::otherwise).and_then(row_of);
        self.pieces.note(side, now, bytes, verdict);
        Explanation {
            number: self.played,
            at: now,
            side,
            packet: bytes.to_vec(),
            steps,
            verdict,
            counter: verdict.drop_reason().and_then(row_of),
            cut_off: 0,
            otherwise,
            told,
            leaves,
            events,
        }
    }

    /// The verdict on a packet, and everything that left because of it.
    fn give(&mut self, side: Side, at: Instant, bytes: &[u8]) -> (Verdict, Vec<(Side, Vec<u8>)>) {
        self.played += 1;
        let mut verdict = None;
        let mut leaves = Vec::new();
        for entry in self.replay.packet_from(side, at, bytes) {
            if let Cause::Packet { verdict: given, .. } = entry.cause {
                verdict = Some(given);
            }
            // What time sent before the packet came is none of its doing.
            leaves.extend(entry.output.filter(|_| verdict.is_some()));
        }
        (verdict.unwrap_or(Verdict::Hold), leaves)
    }
}

/// What the sender of a packet that was dropped learns.
fn told(scene: &Scene<'_>) -> Option<String> {
    scene.reason()?;
    Some(match (scene.output, scene.counted(|counters| counters.icmp_suppressed)) {
        (Some((_, error)), _) => describe(error).to_string(),
        (None, 0) => "nothing: it is dropped in silence".to_owned(),
        (None, _) if !scene.config.icmp.enable => "nothing: icmp.enable is false".to_owned(),
        (None, _) => "nothing: a rate limit of [icmp] kept the error back (icmp.suppressed)".to_owned(),
    })
}
