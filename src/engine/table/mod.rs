//! The three shapes that the engine's state lives in: records addressed by number, a hash index from
//! keys to such numbers, and a wheel of timers for them. All are sized once.

mod slab;
mod hash;
mod wheel;

pub(super) use hash::HashIndex;
pub(super) use slab::{Record, Slab};
pub(super) use wheel::Wheel;

/// No record.
pub(super) const NONE: u32 = u32::MAX;
