//! An app's start with secrets: by broker, beacon and bridge, and by OpenBao itself.
//!
//! The wrapper and the login (a pod's token, the same role) are the same. What the road has besides:
//! two hops, a session with the bridge inside, a verdict, and a receipt that is on the disk before
//! a value leaves. All three networks are of this machine, so that no way is longer than another.

use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use cloudtaser_e2e::{Networks, Pod, Releases, SHOP};
use serde_json::{Value, json};

use crate::launch::Running;
use crate::stats::Samples;
use crate::subject::{teller, variable};
use crate::wrapper::milliseconds;

/// One secret, and so many that what a further one costs can be told.
const SECRETS: [usize; 2] = [1, 11];

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

/// Starts apps both ways in turn; says why where that cannot be done here.
pub(crate) fn run(scratch: &Path, rounds: usize) -> anyhow::Result<Result<Fetch, String>> {
    let networks = match Networks::make() {
        Ok(networks) => networks,
        Err(why) => return Ok(Err(why)),
    };
    let Some(road) = Releases::start_enrolled(networks, SHOP) else {
        return Ok(Err("there is no openssl here".to_owned()));
    };
    let values: Vec<String> =
        (0..11).map(|_| crate::random::hex(16)).collect::<anyhow::Result<_>>()?;
    for (number, value) in (1..).zip(&values) {
        road.put(&format!("shop/{number}"), &json!({ "value": value }));
    }
    let mut fetch = Fetch::default();
    // The first of each warms up.
    for round in 0..=rounds {
        for (at, secrets) in SECRETS.into_iter().enumerate() {
            let values = values.get(..secrets).context("too few values")?;
            for way in [Way::Road, Way::Direct] {
                let took = once(&road, way, values, scratch)?;
                let all = match way {
                    Way::Direct => &mut fetch.direct,
                    Way::Road => &mut fetch.road,
                };
                if round > 0 {
                    all.get_mut(at).context("no such case")?.push(took);
                }
            }
        }
    }
    Ok(Ok(fetch))
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
    let (took, line) = network.within(|| -> anyhow::Result<_> {
        let mut running = Running::start(&mut command, scratch)?;
        let started = running.started;
        let (line, at) = running.line()?;
        ensure!(running.finish()?.success(), "the app's start failed");
        Ok((milliseconds(at.duration_since(started)), line))
    })?;
    if Some(&line) != values.last() {
        bail!("the app got another value");
    }
    Ok(took)
}

impl Fetch {
    /// Milliseconds, least and in the median: a start with one secret, and what one more takes.
    fn figures(all: &[Samples; 2]) -> Option<[f64; 4]> {
        let [one, many] = all;
        let more = |one: f64, many: f64| (many - one) / 10.0;
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
