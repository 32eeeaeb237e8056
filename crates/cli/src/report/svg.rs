//! Where the bars of the two pictures are. The page draws them as SVG, without a script.

use std::collections::BTreeMap;

use cloudtaser_evidence::date;

/// Height of the tallest bar, in the picture's units.
const HEIGHT: u64 = 100;
/// Width of the whole picture.
const WIDTH: u64 = 600;
/// Latest days that are drawn.
const DAYS: usize = 60;

/// Releases of one day.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Bar {
    pub(crate) x: u64,
    pub(crate) y: u64,
    pub(crate) width: u64,
    pub(crate) height: u64,
    pub(crate) day: String,
    pub(crate) count: u64,
    pub(crate) pointer: String,
}

/// One adversary row: how many releases were closed, partial, open, as parts of one bar.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Stack {
    pub(crate) id: String,
    pub(crate) parts: Vec<(u64, u64, &'static str)>,
    /// Where the three counts are, in that order.
    pub(crate) pointers: [String; 3],
}

/// The latest days with releases.
pub(crate) fn days(days: &BTreeMap<u64, u64>) -> Vec<Bar> {
    let latest: Vec<_> = days.iter().rev().take(DAYS).collect();
    let most = latest.iter().map(|(_, count)| **count).max().unwrap_or(1).max(1);
    let step = WIDTH / u64::try_from(latest.len().max(10)).unwrap_or(WIDTH);
    let bar = |(at, (day, count)): (u64, (&u64, &u64))| {
        // A day with a release is never without a bar.
        let height = (count * HEIGHT / most).max(1);
        Bar {
            x: at * step,
            y: HEIGHT - height,
            width: step.saturating_sub(2).max(1),
            height,
            day: date::day_to_text(*day),
            count: *count,
            pointer: format!("/tally/days/{day}"),
        }
    };
    (0..).zip(latest.into_iter().rev()).map(bar).collect()
}

/// All six rows.
pub(crate) fn rows(rows: &[[u64; 3]; 6]) -> Vec<Stack> {
    let stack = |(number, counts): (u32, &[u64; 3])| {
        let all: u64 = counts.iter().sum();
        let mut from = 0;
        let mut parts = Vec::new();
        // The evidence has open first.
        for (count, class) in counts.iter().rev().zip(["closed", "partial", "open"]) {
            let width = count * WIDTH / all.max(1);
            parts.push((from, width, class));
            from += width;
        }
        let pointers = [2, 1, 0].map(|column| format!("/tally/rows/{}/{column}", number - 1));
        Stack { id: format!("T{number}"), parts, pointers }
    };
    (1..).zip(rows).map(stack).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_inside_the_picture_and_as_tall_as_their_counts() {
        let counts: BTreeMap<u64, u64> = (20_000..20_100).map(|day| (day, day - 19_999)).collect();
        let bars = days(&counts);
        assert_eq!(bars.len(), DAYS);
        assert_eq!(bars.last().map(|bar| (bar.height, bar.y, bar.count)), Some((100, 0, 100)));
        assert!(bars.iter().all(|bar| bar.x + bar.width <= WIDTH && bar.y + bar.height == HEIGHT));
        assert_eq!(days(&BTreeMap::new()), []);
        assert_eq!(days(&BTreeMap::from([(20_784, 5)]))[0].day, "2026-11-27");
    }

    #[test]
    fn rows_are_whole() {
        let stacks = rows(&[[1, 1, 2], [0, 0, 4], [4, 0, 0], [0, 4, 0], [0, 0, 0], [3, 1, 0]]);
        assert_eq!(
            stacks[0].parts,
            [(0, 300, "closed"), (300, 150, "partial"), (450, 150, "open")]
        );
        assert_eq!(stacks[1].parts[0], (0, 600, "closed"));
        assert_eq!(stacks[1].pointers[0], "/tally/rows/1/2");
        assert_eq!(stacks[4].parts.iter().map(|part| part.1).sum::<u64>(), 0);
    }
}
