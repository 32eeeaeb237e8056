//! OpenBao's audit device is the bridge: what is read around it is said aloud, and without it
//! nothing is read.

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use cloudtaser_e2e::{Pod, Releases, SHOP, canary, until};
    use nix::sys::signal::Signal;
    use serde_json::{Value, json};

    const PATIENCE: Duration = Duration::from_secs(90);

    fn road() -> Option<Releases> {
        Releases::or_skip(|networks| Releases::start(networks, SHOP))
    }

    fn by_hand(road: &Releases, path: &str) -> Result<Value, (u16, String)> {
        road.networks.eu.within(|| road.bao.try_api("GET", path, &Value::Null))
    }

    /// The lines of reads around the bridge.
    fn around(road: &Releases) -> Vec<Value> {
        road.audit().1.into_iter().filter(|line| line["event"] == "around").collect()
    }

    #[test]
    fn a_read_around_the_bridge_is_in_the_log_and_without_the_bridge_there_is_none() {
        let Some(mut road) = road() else { return };
        let secret = canary();
        road.put("shop/db", &json!({ "password": secret }));
        road.hear_openbao();
        let pod = Pod::new("shop", "web");
        let launch = road.launch_of(&pod).env("S", "vault:secret/shop/db#password");
        let output =
            road.networks.cluster.within(|| launch.run(["/bin/sh", "-c", "echo \"got $S\""]));
        assert_eq!(output.text(), format!("got {secret}\n"), "{}", output.stderr);
        let read = by_hand(&road, "secret/data/shop/db").unwrap();
        let request = read["request_id"].as_str().unwrap().to_owned();
        let lines = until("the read by hand", PATIENCE, || {
            Some(around(&road)).filter(|lines| !lines.is_empty())
        });
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert_eq!(lines[0]["request"], request.as_str());
        assert_eq!(lines[0]["path_hmac"], road.path_hash("secret/shop/db").as_str());
        // The log's folder is written for others a little later.
        let shown = until("the notice", PATIENCE, || {
            let shown = road.evidence(&["show", "state/log"]).ok();
            shown.filter(|shown| shown.contains("around: "))
        });
        let first = shown.lines().next().unwrap_or_default();
        assert!(first.contains("to be heard first: 1"), "{shown}");
        assert!(shown.contains("around: OpenBao gave a secret to token"), "{shown}");
        assert!(!shown.contains("shop/db"), "the path is in the log: {shown}");
        // No record, no answer.
        road.stop_bridge(Signal::SIGKILL);
        let refused = by_hand(&road, "secret/data/shop/db").unwrap_err();
        assert_eq!(refused.0, 500, "{refused:?}");
        road.start_bridge_again();
        until("OpenBao", PATIENCE, || by_hand(&road, "secret/data/shop/db").ok());
    }
}
