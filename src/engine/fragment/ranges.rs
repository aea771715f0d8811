//! Which octets of a datagram have come.

/// Most pieces of one datagram: 65535 octets in pieces of a link of 1280 are 54.
const MOST_PIECES: usize = 64;

/// The pieces that have come, by the octets that they hold.
#[derive(Debug, Clone, Default)]
pub(in crate::engine) struct Ranges {
    /// First octet, and the one behind the last, in order.
    pieces: Vec<(u32, u32)>,
    octets: u32,
    /// The whole's length, when its last piece has come.
    length: Option<u32>,
}

/// How a piece fits to those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) enum Fit {
    /// It is new.
    New,
    /// The very same octets came before.
    Again,
    /// It covers a part of another, or contradicts the end (RFC 5722, RFC 1858).
    Overlap,
    /// There are too many.
    TooMany,
}

impl Ranges {
    /// Adds the piece from `start` to `end`; what does not fit changes nothing.
    pub(in crate::engine) fn add(&mut self, start: u32, end: u32, is_last: bool) -> Fit {
        let at = self.pieces.partition_point(|piece| piece.0 < start);
        if self.pieces.get(at) == Some(&(start, end)) && (self.length == Some(end)) == is_last {
            return Fit::Again;
        }
        let reaches_back = at > 0 && self.pieces[at - 1].1 > start;
        let reaches_on = self.pieces.get(at).is_some_and(|next| next.0 < end);
        let is_behind_the_end = self.length.is_some_and(|length| end >= length);
        let ends_too_soon = is_last && self.pieces.len() > at;
        if reaches_back || reaches_on || is_behind_the_end || ends_too_soon {
            return Fit::Overlap;
        }
        if self.pieces.len() == MOST_PIECES {
            return Fit::TooMany;
        }
        self.pieces.insert(at, (start, end));
        self.octets += end - start;
        if is_last {
            self.length = Some(end);
        }
        Fit::New
    }

    /// Whether all have come.
    pub(in crate::engine) fn are_complete(&self) -> bool {
        self.length == Some(self.octets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_complete_a_datagram_in_any_order() {
        for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
            let mut ranges = Ranges::default();
            for (count, piece) in order.into_iter().enumerate() {
                assert!(!ranges.are_complete());
                assert_eq!(ranges.add(piece * 8, piece * 8 + 8, piece == 2), Fit::New, "{order:?}");
                assert_eq!(ranges.are_complete(), count == 2, "{order:?}");
            }
        }
    }

    #[test]
    fn what_contradicts_a_piece_before_it_is_an_overlap() {
        for (first, second, expected) in [
            ((8, 16, false), (8, 16, false), Fit::Again),
            ((8, 16, true), (8, 16, true), Fit::Again),
            ((8, 16, false), (8, 16, true), Fit::Overlap),
            ((8, 16, true), (8, 16, false), Fit::Overlap),
            ((8, 16, false), (0, 16, false), Fit::Overlap),
            ((8, 16, false), (8, 24, false), Fit::Overlap),
            ((0, 24, false), (8, 16, false), Fit::Overlap),
            ((8, 16, false), (0, 8, false), Fit::New),
            ((8, 16, false), (0, 8, true), Fit::Overlap),
            ((8, 16, true), (16, 24, false), Fit::Overlap),
            ((8, 16, true), (16, 24, true), Fit::Overlap),
            ((8, 16, false), (16, 24, true), Fit::New),
        ] {
            let mut ranges = Ranges::default();
            assert_eq!(ranges.add(first.0, first.1, first.2), Fit::New);
            assert_eq!(ranges.add(second.0, second.1, second.2), expected, "{first:?} then {second:?}");
        }
    }

    #[test]
    fn the_sixty_fifth_piece_is_too_much() {
        let mut ranges = Ranges::default();
        for piece in 0..64 {
            assert_eq!(ranges.add(piece * 8, piece * 8 + 8, false), Fit::New);
        }
        assert_eq!(ranges.add(64 * 8, 65 * 8, false), Fit::TooMany);
    }
}
