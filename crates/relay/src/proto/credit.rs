//! How many tunnels a bridge is willing to carry at once.
//!
//! The bridge grants a number, the beacon counts what goes on. The number is absolute, so nothing
//! has to be given back and nothing can get lost; a bridge that wants less says less. It also counts
//! for itself, so a beacon, honest or not, cannot make it hold more than it offered.

/// What was granted, and what goes on.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Credit {
    granted: u32,
    open: u32,
}

impl Credit {
    /// Replaces the number; tunnels beyond it go on until they end.
    pub const fn grant(&mut self, tunnels: u32) {
        self.granted = tunnels;
    }

    /// Whether one more may begin.
    #[must_use]
    pub const fn is_left(self) -> bool {
        self.open < self.granted
    }

    /// Counts one more; whether it was allowed.
    #[must_use]
    pub const fn open(&mut self) -> bool {
        let allowed = self.is_left();
        if allowed {
            self.open += 1;
        }
        allowed
    }

    /// One has ended.
    pub const fn close(&mut self) {
        self.open = self.open.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Close,
        Grant(u8),
        Open,
    }

    proptest! {
        #[test]
        fn nothing_begins_beyond_what_was_granted(steps in proptest::collection::vec(
            prop_oneof![Just(Step::Close), any::<u8>().prop_map(Step::Grant), Just(Step::Open)], 0..200)
        ) {
            let (mut credit, mut granted, mut open) = (Credit::default(), 0_u32, 0_u32);
            for step in steps {
                match step {
                    Step::Close => { credit.close(); open = open.saturating_sub(1); }
                    Step::Grant(tunnels) => { granted = tunnels.into(); credit.grant(granted); }
                    Step::Open => {
                        let allowed = credit.open();
                        prop_assert_eq!(allowed, open < granted);
                        open += u32::from(allowed);
                    }
                }
            }
        }
    }
}
