//! Whether an environment string holds a known secret.
//!
//! A table of the first two bytes of all secrets lets one pass over an ordinary environment (a few
//! kilobytes) end without a comparison. Values that a secret had before count too, since a program
//! that was started with them may hand them on.
//!
//! Not found: a secret in another encoding, or cut in two. That is for the program that did it.

use zeroize::Zeroizing;

/// Shorter values occur by chance: they count only as the whole value of a variable.
const SHORTEST_SUBSTRING: usize = 6;

/// Values remembered of one slot: the present one and those before it.
const VALUES_PER_SLOT: usize = 4;

/// One bit for each pair of bytes.
const PAIR_WORDS: usize = (1 << 16) / 64;

struct Needle {
    slot: usize,
    value: Zeroizing<Vec<u8>>,
}

/// The values to look for.
#[derive(Default)]
pub(super) struct Needles {
    /// Oldest first.
    values: Vec<Needle>,
    pairs: Vec<u64>,
}

impl Needles {
    /// Adds a slot's present value.
    pub(super) fn add(&mut self, slot: usize, value: &[u8]) {
        if value.is_empty() {
            return;
        }
        self.values.retain(|needle| needle.slot != slot || needle.value.as_slice() != value);
        self.values.push(Needle { slot, value: Zeroizing::new(value.to_vec()) });
        let of_slot = self.values.iter().filter(|needle| needle.slot == slot).count();
        if of_slot > VALUES_PER_SLOT
            && let Some(oldest) = self.values.iter().position(|needle| needle.slot == slot)
        {
            drop(self.values.remove(oldest));
        }
        self.rebuild();
    }

    /// Whether the string `NAME=value` holds one of the values.
    pub(super) fn occur_in(&self, text: &[u8]) -> bool {
        self.is_a_short_one(text) || self.are_part_of(text)
    }

    fn is_a_short_one(&self, text: &[u8]) -> bool {
        let Some(equals) = text.iter().position(|byte| *byte == b'=') else {
            return false;
        };
        let value = text.get(equals + 1..).unwrap_or_default();
        value.len() < SHORTEST_SUBSTRING
            && self.values.iter().any(|needle| needle.value.as_slice() == value)
    }

    fn are_part_of(&self, text: &[u8]) -> bool {
        let mut rest = text;
        while let [first, second, ..] = rest {
            if self.may_begin(*first, *second) && self.begin(rest) {
                return true;
            }
            rest = rest.get(1..).unwrap_or_default();
        }
        false
    }

    fn begin(&self, text: &[u8]) -> bool {
        self.long_ones().any(|needle| text.starts_with(&needle.value))
    }

    fn may_begin(&self, first: u8, second: u8) -> bool {
        let (word, bit) = pair(first, second);
        self.pairs.get(word).is_some_and(|word| word & bit != 0)
    }

    fn rebuild(&mut self) {
        let mut pairs = vec![0; PAIR_WORDS];
        for needle in self.long_ones() {
            if let [first, second, ..] = needle.value.as_slice() {
                let (word, bit) = pair(*first, *second);
                if let Some(word) = pairs.get_mut(word) {
                    *word |= bit;
                }
            }
        }
        self.pairs = pairs;
    }

    fn long_ones(&self) -> impl Iterator<Item = &Needle> {
        self.values.iter().filter(|needle| needle.value.len() >= SHORTEST_SUBSTRING)
    }
}

fn pair(first: u8, second: u8) -> (usize, u64) {
    let index = usize::from(u16::from_be_bytes([first, second]));
    (index / 64, 1 << (index % 64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn needles(values: &[&str]) -> Needles {
        let mut needles = Needles::default();
        for (slot, value) in values.iter().enumerate() {
            needles.add(slot, value.as_bytes());
        }
        needles
    }

    #[test]
    fn a_long_value_is_found_anywhere() {
        let needles = needles(&["hunter2-x"]);
        assert!(needles.occur_in(b"A=hunter2-x"));
        assert!(needles.occur_in(b"A=pre-hunter2-x-post"));
        assert!(needles.occur_in(b"hunter2-x=1"));
        assert!(!needles.occur_in(b"A=hunter2-"));
        assert!(!needles.occur_in(b"A="));
    }

    #[test]
    fn a_short_value_counts_only_as_a_whole_one() {
        let needles = needles(&["abc"]);
        assert!(needles.occur_in(b"OTHER=abc"));
        assert!(!needles.occur_in(b"OTHER=abcd"));
        assert!(!needles.occur_in(b"abc=d"));
    }

    #[test]
    fn an_empty_value_is_no_secret() {
        assert!(!needles(&[""]).occur_in(b"A="));
    }

    #[test]
    fn earlier_values_are_known_for_a_while() {
        let mut needles = needles(&["value-0"]);
        for round in 1..=VALUES_PER_SLOT {
            needles.add(0, format!("value-{round}").as_bytes());
        }
        assert!(!needles.occur_in(b"A=value-0"));
        assert!(needles.occur_in(b"A=value-1"));
    }

    proptest! {
        #[test]
        fn the_quick_search_agrees_with_the_plain_one(
            values in proptest::collection::vec("[ab]{6,9}", 1..4), text in "A=[ab]{0,40}"
        ) {
            let all: Vec<&str> = values.iter().map(String::as_str).collect();
            let plain = values.iter().any(|value| text.contains(value.as_str()));
            prop_assert_eq!(needles(&all).occur_in(text.as_bytes()), plain);
        }
    }
}
