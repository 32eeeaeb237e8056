//! An app in the cluster gets a secret of an OpenBao that no network of the cluster reaches, and
//! what carries it knows nothing of it.

#[cfg(test)]
mod tests {
    use std::{
        net::{SocketAddr, TcpStream},
        time::Duration,
    };

    use cloudtaser_e2e::{
        CLUSTER_ADDRESS, EU_ADDRESS, Launch, Networks, RELAY_ADDRESS, Road, canary, scan, skip,
    };
    use nix::sys::signal::Signal;
    use serde_json::{Value, json};

    /// Starts an app in the cluster that prints the secret.
    fn app_prints(road: &Road, path: &str) -> String {
        let launch =
            Launch::wrapped(&road.bao).env("S", format!("vault:secret/data/{path}#password"));
        let output = road.networks.cluster.within(|| launch.run(["/bin/sh", "-c", "echo $S"]));
        assert_eq!(
            output.code(),
            0,
            "{}\nproxy: {}\nbridge: {}\nbeacon: {}",
            output.stderr,
            road.proxy.log(),
            road.bridge.log(),
            road.beacon.log()
        );
        output.text().trim().to_owned()
    }

    fn cannot_connect(to: SocketAddr) -> bool {
        TcpStream::connect_timeout(&to, Duration::from_secs(2)).is_err()
    }

    fn networks() -> Option<Networks> {
        Networks::make().inspect_err(|why| println!("SKIP: no network namespaces: {why}")).ok()
    }

    #[test]
    fn the_road_carries_a_secret_and_nobody_on_it_can_read_it() {
        let Some(networks) = networks() else { skip!("see above") };
        let road = Road::start(networks);
        let (value, path) = (canary(), canary());
        road.bao.put_within(&road.networks.eu, &path, &json!({ "password": value }));

        // There is no other way.
        road.networks.assert_eu_is_closed(road.bao.port());
        assert_eq!(road.networks.relay.reachable_listeners().len(), 1, "the beacon's own");

        for _ in 0..3 {
            assert_eq!(app_prints(&road, &path), value);
        }

        let token = std::fs::read_to_string(road.bao.token_file()).unwrap();
        for (what, needle) in [("value", &value), ("token", &token), ("path", &path)] {
            let needle = needle.trim().as_bytes();
            for (who, program) in
                [("beacon", &road.beacon), ("proxy", &road.proxy), ("bridge", &road.bridge)]
            {
                let found = scan(program.pid(), needle);
                assert!(found.bytes > 1 << 20, "{who}: only {} bytes were read", found.bytes);
                assert!(found.hits.is_empty(), "{who} has the {what}:\n{}", found.shown());
            }
            let there = scan(road.bao.pid(), needle);
            assert!(!there.hits.is_empty(), "the scan finds the {what} nowhere, so it is blind");
        }
        logs_tell_pseudonyms_only(&road, &[&value, token.trim(), &path]);
    }

    /// Each line is JSON, and none has a name, key, tag or address of a tenant.
    fn logs_tell_pseudonyms_only(road: &Road, secrets: &[&str]) {
        let log = road.beacon.log();
        assert!(log.contains("tunnel ended"), "{log}");
        let client = road.file("client.toml");
        let tag = client.lines().find_map(|line| line.strip_prefix("tag = ")).unwrap();
        let bridge = client.lines().find_map(|line| line.strip_prefix("bridge = ")).unwrap();
        let clear = [tag.trim_matches('"'), bridge.trim_matches('"'), CLUSTER_ADDRESS, EU_ADDRESS];
        for line in log.lines() {
            serde_json::from_str::<Value>(line).unwrap_or_else(|_| panic!("no JSON: {line}"));
            for name in clear.iter().chain(secrets) {
                assert!(!line.contains(name), "{name} is in {line}");
            }
        }
    }

    #[test]
    fn a_beacon_that_was_killed_and_one_that_was_stopped_come_back() {
        let Some(networks) = networks() else { skip!("see above") };
        let mut road = Road::start(networks);
        let (value, path) = (canary(), canary());
        road.bao.put_within(&road.networks.eu, &path, &json!({ "password": value }));
        assert_eq!(app_prints(&road, &path), value);

        assert_eq!(road.beacon.end(Signal::SIGKILL), None);
        let beacon: SocketAddr = format!("{RELAY_ADDRESS}:443").parse().unwrap();
        assert!(road.networks.cluster.within(|| cannot_connect(beacon)));
        road.restart_beacon();
        assert_eq!(app_prints(&road, &path), value);

        assert_eq!(road.beacon.end(Signal::SIGTERM), Some(0), "{}", road.beacon.log());
        assert!(road.beacon.log().contains("draining"));
        road.restart_beacon();
        assert_eq!(app_prints(&road, &path), value);
    }
}
