//! Reverse mode: no beacon, a bridge that dials the cluster's broker, and for apps all as ever.

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use cloudtaser_e2e::{
        Capture, Launch, Output, Pod, Releases, SHOP, WAITS, canary, scan, skip, until,
    };
    use nix::sys::signal::Signal;
    use serde_json::json;

    fn road() -> Option<Releases> {
        Releases::or_skip(|networks| Releases::start_reverse(networks, SHOP))
    }

    fn launch(road: &Releases, path: &str) -> Launch {
        road.launch_of(&Pod::new("shop", "web"))
            .env("CLOUDTASER_MODE", "reverse")
            .env("S", format!("vault:secret/data/{path}#password"))
    }

    fn run(road: &Releases, launch: &Launch) -> Output {
        road.networks.cluster.within(|| launch.run(["/bin/sh", "-c", "echo \"got $S\""]))
    }

    fn told(road: &Releases, output: &Output) -> String {
        let (broker, bridge) = (road.broker().log(), road.bridge.log());
        format!("{}\nbroker: {broker}\nbridge: {bridge}", output.stderr)
    }

    #[test]
    fn an_app_gets_its_secret_from_a_bridge_that_dialled_its_cluster_and_no_hop_has_it() {
        let Some(road) = road() else { skip!("see above") };
        let (value, name) = (canary(), canary());
        let path = format!("shop/{name}");
        road.put(&path, &json!({ "password": value }));
        let networks = [
            ("cluster", &road.networks.cluster),
            ("relay", &road.networks.relay),
            ("EU", &road.networks.eu),
        ];
        let captures = networks.map(|(name, network)| (name, Capture::begin(network)));
        let output = run(&road, &launch(&road, &path));
        assert_eq!(output.code(), 0, "{}", told(&road, &output));
        assert_eq!(output.text(), format!("got {value}\n"));

        for (place, capture) in captures {
            let captured = capture.end();
            assert!(captured.is_whole(), "{place}: the capture missed something");
            assert!(captured.bytes() > 5_000, "{place}: only {} bytes", captured.bytes());
            for (what, needle) in [("value", &value), ("path", &name)] {
                assert!(!captured.has(needle.as_bytes()), "{what} goes in clear in the {place}");
            }
        }
        for (what, needle) in [("value", &value), ("path", &name)] {
            let found = scan(road.broker().pid(), needle.as_bytes());
            assert!(found.bytes > 1 << 20, "only {} bytes were read", found.bytes);
            assert!(found.hits.is_empty(), "the broker has the {what}:\n{}", found.shown());
            let there = scan(road.bao.pid(), needle.as_bytes());
            assert!(!there.hits.is_empty(), "the scan finds the {what} nowhere, so it is blind");
        }
        road.networks.assert_eu_is_closed(road.bao.port());
    }

    #[test]
    fn whoever_is_killed_apps_go_on_and_the_next_one_starts() {
        let Some(mut road) = road() else { skip!("see above") };
        let value = canary();
        road.put("shop/db", &json!({ "password": value }));
        let lasting = launch(&road, "shop/db");
        let mut running = road.networks.cluster.within(|| lasting.spawn(WAITS));
        let wanted = format!("got {value}\n");
        running.until_stdout("the value", |out| out == wanted.as_bytes());

        road.restart_reverse_broker();
        let output = run(&road, &launch(&road, "shop/db"));
        assert_eq!((output.code(), output.text()), (0, wanted.clone()), "{}", told(&road, &output));

        road.stop_bridge(Signal::SIGKILL);
        until("the broker's word on it", Duration::from_secs(60), || {
            road.broker().log().contains("bridge gone").then_some(())
        });
        let late = launch(&road, "shop/db").env("CLOUDTASER_DEADLINE", "2s");
        let output = run(&road, &late);
        assert_eq!(output.code(), 69, "{}", told(&road, &output));
        assert!(output.stderr.contains("no bridge has dialled in"), "{}", output.stderr);

        road.start_bridge_again();
        let output = run(&road, &launch(&road, "shop/db"));
        assert_eq!((output.code(), output.text()), (0, wanted), "{}", told(&road, &output));
        assert!(!running.ended(), "the app was ended: {}", running.stderr());
        running.close_stdin();
        assert_eq!(running.wait().code(), 0);
    }

    #[test]
    fn a_wrapper_without_a_broker_says_what_reverse_mode_needs() {
        let launch = Launch::wrapped_bare()
            .env("VAULT_ROLE", "app")
            .env("CLOUDTASER_MODE", "reverse")
            .env("CLOUDTASER_BRIDGE_KEY", "ed25519:x")
            .env("S", "vault:secret/data/db#password");
        let output = launch.run(["/bin/true"]);
        assert_eq!(output.code(), 64, "{}", output.stderr);
        assert!(output.stderr.contains("set CLOUDTASER_BROKER_ADDR"), "{}", output.stderr);
    }
}
