//! Whether a licence expression can be met with a list of allowed licences.
//!
//! Knows `AND`, `OR`, `WITH`, parentheses and the old `/` for `OR`. Anything that it cannot read
//! is not allowed.

/// Whether the expression can be met by allowed licences alone.
pub(crate) fn is_allowed(expression: &str, allowed: &[String]) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let mut words = Words { words: spaced.split_whitespace().collect(), next: 0, allowed };
    words.any() == Some(true) && words.next == words.words.len()
}

struct Words<'a> {
    words: Vec<&'a str>,
    next: usize,
    allowed: &'a [String],
}

impl<'a> Words<'a> {
    fn any(&mut self) -> Option<bool> {
        let mut met = self.all()?;
        while self.takes("OR") {
            // Both sides are read to the end, so that nonsense on the right is not overlooked.
            met |= self.all()?;
        }
        Some(met)
    }

    fn all(&mut self) -> Option<bool> {
        let mut met = self.one()?;
        while self.takes("AND") {
            met &= self.one()?;
        }
        Some(met)
    }

    fn one(&mut self) -> Option<bool> {
        if self.takes("(") {
            let met = self.any()?;
            return self.takes(")").then_some(met);
        }
        let mut licence = self.word().filter(|word| is_name(word))?.to_owned();
        if self.takes("WITH") {
            let exception = self.word().filter(|word| is_name(word))?;
            licence.push_str(" WITH ");
            licence.push_str(exception);
        }
        Some(self.allowed.contains(&licence))
    }

    fn takes(&mut self, word: &str) -> bool {
        let found = self.words.get(self.next) == Some(&word);
        self.next += usize::from(found);
        found
    }

    fn word(&mut self) -> Option<&'a str> {
        let word = self.words.get(self.next).copied();
        self.next += 1;
        word
    }
}

fn is_name(word: &str) -> bool {
    !matches!(word, "AND" | "OR" | "WITH" | "(" | ")")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn met(expression: &str) -> bool {
        is_allowed(expression, &["MIT", "ISC", "Apache-2.0"].map(str::to_owned))
    }

    #[test]
    fn one_side_of_or_is_enough_and_both_of_and_are_needed() {
        assert!(met("MIT"));
        assert!(met("GPL-3.0 OR MIT"));
        assert!(met("GPL-3.0/MIT"));
        assert!(met("MIT AND ISC"));
        assert!(!met("MIT AND GPL-3.0"));
        assert!(!met("GPL-3.0"));
    }

    #[test]
    fn and_binds_tighter_than_or() {
        assert!(met("MIT OR GPL-3.0 AND BSL-1.1"));
        assert!(!met("(MIT OR GPL-3.0) AND BSL-1.1"));
        assert!(met("(GPL-3.0 OR ISC) AND (MIT OR BSL-1.1)"));
    }

    #[test]
    fn an_exception_is_part_of_the_name() {
        assert!(!met("Apache-2.0 WITH LLVM-exception"));
        assert!(met("Apache-2.0 WITH LLVM-exception OR MIT"));
    }

    #[test]
    fn what_cannot_be_read_is_not_allowed() {
        for odd in ["", "MIT OR", "MIT ISC", "(MIT", "MIT)", "OR MIT", "MIT OR AND", "MIT WITH"] {
            assert!(!met(odd), "{odd:?}");
        }
    }
}
