//! Bytes to steps.

use arbitrary::{Result, Unstructured};

/// Something that happens.
#[derive(Debug, Clone)]
pub(super) enum Step {
    /// Any bytes, from a B4 or from the Internet.
    Raw { from_b4: bool, bytes: Vec<u8> },
    /// A packet that is valid but for what the edits do.
    Packet(Recipe),
    /// All pieces of such a packet, or nearly all.
    Pieces { recipe: Recipe, outer: bool, unit: u8, order: u8 },
    /// Many that differ in one thing.
    Burst { recipe: Recipe, count: u8, by: u8 },
    /// Time passes; the engine is called whenever it asks to be, or a good deal too late.
    Wait { millis: u64, late: bool },
    /// Another configuration.
    Configure { family: Option<u8>, variant: u8 },
    /// An operator ends what a prefix has.
    Purge { b4: u8, length: u8 },
}

/// How to make a packet: small numbers, so that stories meet the same ends again.
#[derive(Debug, Clone, Default)]
pub(super) struct Recipe {
    pub(super) from_b4: bool,
    pub(super) shape: u8,
    pub(super) b4: u8,
    pub(super) host: u8,
    pub(super) remote: u8,
    pub(super) flags: u8,
    pub(super) ttl: u8,
    pub(super) class: u8,
    pub(super) size: u8,
    /// Identification; 0 with DF.
    pub(super) number: u8,
    /// Which of the mappings seen lately.
    pub(super) nth: u8,
    /// Added to the sender's port.
    pub(super) port: u8,
    pub(super) edits: Vec<Edit>,
}

/// What is done to a packet, in this order.
#[derive(Debug, Clone, Copy)]
pub(super) enum Edit {
    /// One byte of the inner packet, before its checksums are written, or after.
    Inner { at: u16, value: u8, then_sum: bool },
    /// One piece of the inner packet.
    Cut { unit: u8, from: u8, count: u8 },
    /// Bytes behind the inner packet.
    Trailer { count: u8 },
    /// An extension header in front of it.
    Extension { kind: u8, option: u8 },
    /// One piece of the outer packet.
    CutOuter { unit: u8, from: u8, count: u8, number: u8 },
    /// One byte of what is sent.
    Outer { at: u16, value: u8 },
    /// The end is lost.
    Truncate { to: u16 },
}

/// Most steps of a story.
const MOST_STEPS: usize = 256;

/// First configuration, start of the clock, steps.
pub(super) struct Story {
    pub(super) scene: (u8, u8),
    pub(super) kernel_ttl: bool,
    pub(super) start: u8,
    pub(super) steps: Vec<Step>,
}

impl Story {
    pub(super) fn read(data: &[u8]) -> Story {
        let mut source = Unstructured::new(data);
        let [family, variant, clock] = source.arbitrary().unwrap_or_default();
        let mut steps = Vec::new();
        while !source.is_empty() && steps.len() < MOST_STEPS {
            let Ok(step) = Step::read(&mut source) else { break };
            steps.push(step);
        }
        Story { scene: (family, variant), kernel_ttl: clock & 0x80 != 0, start: clock & 0x7f, steps }
    }
}

impl Step {
    fn read(source: &mut Unstructured<'_>) -> Result<Step> {
        let kind: u8 = source.arbitrary()?;
        Ok(match kind % 16 {
            0..=4 => Step::Packet(Recipe::read(source, true, kind / 16)?),
            6..=8 => Step::Packet(Recipe::read(source, false, kind / 16)?),
            5 | 9 => {
                let [how, order]: [u8; 2] = source.arbitrary()?;
                let recipe = Recipe::read(source, kind % 16 == 5, kind / 16)?;
                Step::Pieces { recipe, outer: how & 0x80 != 0, unit: how & 7, order }
            }
            10 => Step::burst(source, kind / 16)?,
            11 => {
                let length = usize::from(source.arbitrary::<u8>()?).min(source.len());
                Step::Raw { from_b4: kind & 0x10 != 0, bytes: source.bytes(length)?.to_vec() }
            }
            12 | 13 => {
                let amount = u64::from(source.arbitrary::<u8>()?);
                let unit = [1, 100, 500, 1000, 2000, 10_000, 60_000, 900_000];
                Step::Wait { millis: amount * unit[usize::from(kind / 16) % 8], late: kind & 0x80 != 0 }
            }
            14 => Step::Configure {
                family: (kind & 0x80 != 0).then_some(kind / 16 % 8),
                variant: source.arbitrary()?,
            },
            15 if kind & 0x80 != 0 => Step::burst(source, (kind / 16) & 7)?,
            _ => Step::Purge {
                b4: source.arbitrary()?,
                length: [128, 64, 56, 48, 0][usize::from(kind / 16) % 5],
            },
        })
    }
}

impl Step {
    fn burst(source: &mut Unstructured<'_>, shape: u8) -> Result<Step> {
        let [count, by]: [u8; 2] = source.arbitrary()?;
        let recipe = Recipe::read(source, by & 0x80 == 0, shape)?;
        Ok(Step::Burst { recipe, count: count % 40, by })
    }
}

impl Recipe {
    fn read(source: &mut Unstructured<'_>, from_b4: bool, shape: u8) -> Result<Recipe> {
        let [ends, flags, hop, size, number, more]: [u8; 6] = source.arbitrary()?;
        let mut recipe = Recipe {
            from_b4,
            shape,
            b4: ends >> 4,
            host: ends & 3,
            remote: ends >> 2 & 3 | more >> 2 & 4,
            flags,
            ttl: hop & 0x3f,
            class: hop >> 6,
            size,
            number,
            nth: more & 7,
            port: 0,
            edits: Vec::new(),
        };
        for _ in 0..[0, 0, 0, 0, 1, 1, 2, 3][usize::from(more >> 5)] {
            recipe.edits.push(Edit::read(source)?);
        }
        Ok(recipe)
    }
}

impl Edit {
    fn read(source: &mut Unstructured<'_>) -> Result<Edit> {
        let kind: u8 = source.arbitrary()?;
        Ok(match kind % 8 {
            0 | 1 => {
                let [at, value]: [u8; 2] = source.arbitrary()?;
                Edit::Inner {
                    at: u16::from(at) | u16::from(kind >> 4 & 1) << 8,
                    value,
                    then_sum: kind.is_multiple_of(8),
                }
            }
            2 => {
                let [from, count] = source.arbitrary()?;
                Edit::Cut { unit: kind >> 4, from, count }
            }
            3 => Edit::Trailer { count: source.arbitrary()? },
            4 => Edit::Extension { kind: kind >> 4, option: source.arbitrary()? },
            5 => {
                let [from, count, number] = source.arbitrary()?;
                Edit::CutOuter { unit: kind >> 4, from, count, number }
            }
            6 => {
                let [at, value]: [u8; 2] = source.arbitrary()?;
                Edit::Outer { at: at.into(), value }
            }
            _ => Edit::Truncate { to: u16::from(source.arbitrary::<u8>()?) << (kind >> 6) },
        })
    }
}
