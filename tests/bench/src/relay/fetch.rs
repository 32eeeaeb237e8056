//! An app's start with secrets: by broker, beacon and bridge, and by OpenBao itself.
//!
//! The wrapper and the login (a pod's token, the same role) are the same. What the road has besides:
//! two hops, a session with the bridge inside, a verdict, and a receipt that is on the disk before
//! a value leaves. All three networks are of this machine, so that no way is longer than another.

use std::path::Path;

use anyhow::{Context as _, ensure};
use cloudtaser_e2e::{Pod, Releases, SHOP};
use serde_json::{Value, json};

use crate::stats::Samples;
use crate::subject::{teller, variable};
use crate::wrapper::milliseconds;
use crate::{launch, random};

/// What one more costs is told by so many.
const FURTHER: u8 = 10;
const SECRETS: [u8; 2] = [1, 1 + FURTHER];

/// Milliseconds to the app's first line, by number of secrets.
#[derive(Debug, Default)]
pub(crate) struct Fetch {
    road: [Samples; 2],
    direct: [Samples; 2],
}

/// Which way.
#[derive(Clone, Copy, Debug)]
enum Way {
    Direct,
    Road,
}

/// Starts apps both ways in turn; nothing where that cannot be done here, which it says.
pub(crate) fn run(scratch: &Path, rounds: usize) -> anyhow::Result<Option<Fetch>> {
    let start = |networks| Releases::start_enrolled(networks, SHOP);
    let Some(road) = Releases::or_skip(start) else { return Ok(None) };
    let values: Vec<String> =
        (0..=FURTHER).map(|_| random::hex(16)).collect::<anyhow::Result<_>>()?;
    for (number, value) in (1..).zip(&values) {
        road.put(&format!("shop/{number}"), &json!({ "value": value }));
    }
    let mut fetch = Fetch::default();
    // The first of each warms up.
    for round in 0..=rounds {
        for (way, all) in [(Way::Road, &mut fetch.road), (Way::Direct, &mut fetch.direct)] {
            for (secrets, times) in SECRETS.into_iter().zip(all) {
                let values = values.get(..secrets.into()).context("too few values")?;
                let took = once(&road, way, values, scratch)?;
                if round > 0 {
                    times.push(took);
                }
            }
        }
    }
    Ok(Some(fetch))
}

fn once(road: &Releases, way: Way, values: &[String], scratch: &Path) -> anyhow::Result<f64> {
    // A token of its own: it is worth one login.
    let mut launch = road.launch_of(&Pod::new("shop", "web"));
    let network = match way {
        Way::Road => &road.networks.cluster,
        Way::Direct => {
            launch = launch
                .without_env("CLOUDTASER_BRIDGE_KEY")
                .without_env("CLOUDTASER_BROKER_ADDR")
                .env("VAULT_ADDR", road.bao.url())
                .env("VAULT_CACERT", road.bao.ca());
            &road.networks.eu
        }
    };
    for number in 1..=values.len() {
        launch = launch.env(variable(number), format!("vault:secret/shop/{number}#value"));
    }
    let mut command = launch.command(teller(values));
    let (line, took) = network.within(|| launch::to_its_end(&mut command, scratch))?;
    ensure!(Some(&line) == values.last(), "the app got another value");
    Ok(milliseconds(took))
}

impl Fetch {
    /// Milliseconds, least and in the median: a start with one secret, and what one more takes.
    fn figures(all: &[Samples; 2]) -> Option<[f64; 4]> {
        let [one, many] = all;
        let more = |one: f64, many: f64| (many - one) / f64::from(FURTHER);
        let (least, median) = (one.min()?, one.median()?);
        Some([least, median, more(least, many.min()?), more(median, many.median()?)])
    }

    /// Rows of a table: way, start, further secret.
    pub(crate) fn rows(&self) -> String {
        let row = |name: &str, all| {
            let [least, median, more, more_median] = Self::figures(all).unwrap_or_default();
            format!("| {name} | {least:.1} / {median:.1} ms | {more:.2} / {more_median:.2} ms |\n")
        };
        row("broker, beacon, bridge", &self.road) + &row("OpenBao itself", &self.direct)
    }

    pub(crate) fn to_json(&self) -> Value {
        let way = |all: &[Samples; 2]| {
            let both = SECRETS.iter().zip(all);
            both.map(|(n, times)| json!({ "secrets": n, "first_line_ms": times.to_json() }))
                .collect::<Vec<_>>()
        };
        json!({ "road": way(&self.road), "direct": way(&self.direct) })
    }
}
