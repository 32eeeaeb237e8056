//! How many tunnels a bridge is willing to carry.
//!
//! The bridge grants; the beacon spends one for each tunnel that it pairs. What the bridge grants
//! again is what ended. So a beacon, honest or not, cannot make a bridge hold more than it offered:
//! the bridge counts for itself and refuses legs beyond.

/// Credits that are left.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Credits(u32);

/// More than any bridge can carry, so that grants cannot run over.
pub const MAX: u32 = 1 << 20;

impl Credits {
    /// Adds what was granted.
    pub fn grant(&mut self, more: u32) {
        self.0 = self.0.saturating_add(more).min(MAX);
    }

    /// Takes one; whether there was one.
    #[must_use]
    pub fn spend(&mut self) -> bool {
        let had = self.0 > 0;
        self.0 = self.0.saturating_sub(1);
        had
    }

    /// How many are left.
    #[must_use]
    pub const fn left(self) -> u32 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn never_more_is_spent_than_was_granted(steps in proptest::collection::vec(any::<Option<u8>>(), 0..200)) {
            let (mut credits, mut granted, mut spent) = (Credits::default(), 0_u32, 0_u32);
            for step in steps {
                match step {
                    Some(more) => { credits.grant(more.into()); granted += u32::from(more); }
                    None => spent += u32::from(credits.spend()),
                }
                prop_assert!(spent <= granted);
                prop_assert_eq!(credits.left(), granted - spent);
            }
        }
    }
}
