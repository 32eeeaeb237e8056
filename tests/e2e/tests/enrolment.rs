//! A cluster that was invited and approved gets its secrets; nobody on the way can read them, and
//! one that was put out gets nothing more.

#[cfg(test)]
mod tests {
    use std::{
        thread,
        time::{Duration, Instant},
    };

    use cloudtaser_e2e::{Capture, Launch, Networks, Output, Road, canary, scan, skip, until};
    use nix::{
        sys::signal::{self, Signal},
        unistd::Pid,
    };
    use serde_json::{Value, json};

    fn networks() -> Option<Networks> {
        Networks::make().inspect_err(|why| println!("SKIP: no network namespaces: {why}")).ok()
    }

    fn launch(road: &Road, path: &str) -> Launch {
        Launch::wrapped(&road.bao).env("S", format!("vault:secret/data/{path}#password"))
    }

    fn app(road: &Road, path: &str) -> Output {
        let launch = launch(road, path);
        road.networks.cluster.within(|| launch.run(["/bin/sh", "-c", "echo $S"]))
    }

    fn app_prints(road: &Road, path: &str) -> String {
        let output = app(road, path);
        let logs = || {
            let (broker, bridge, beacon) = (road.proxy.log(), road.bridge.log(), road.beacon.log());
            format!("{}\nbroker: {broker}\nbridge: {bridge}\nbeacon: {beacon}", output.stderr)
        };
        assert_eq!(output.code(), 0, "{}", logs());
        output.text().trim().to_owned()
    }

    #[test]
    fn no_hop_carries_or_keeps_a_byte_of_secret_token_or_path() {
        let Some(networks) = networks() else { skip!("see above") };
        let road = Road::start_enrolled(networks);
        let (value, path) = (canary(), canary());
        road.bao.put_within(&road.networks.eu, &path, &json!({ "password": value }));
        let networks = [
            ("cluster", &road.networks.cluster),
            ("relay", &road.networks.relay),
            ("EU", &road.networks.eu),
        ];
        let captures = networks.map(|(name, network)| (name, Capture::begin(network)));
        for _ in 0..3 {
            assert_eq!(app_prints(&road, &path), value);
        }
        let invitation = road.file("invitation");
        let token = std::fs::read_to_string(road.bao.token_file()).unwrap();
        let needles = [
            ("value", &*value),
            ("token", token.trim()),
            ("path", &path),
            ("invitation", invitation.trim()),
        ];
        for (name, capture) in captures {
            let captured = capture.end();
            assert!(captured.is_whole(), "{name}: the capture missed something");
            assert!(captured.bytes() > 10_000, "{name}: only {} bytes", captured.bytes());
            // What is in clear is found, so the search is not blind.
            if name != "EU" {
                assert!(captured.has(b".r.beacon.example"), "{name}: no hello was captured");
            }
            for (what, needle) in needles {
                assert!(!captured.has(needle.as_bytes()), "{what} goes in clear in the {name}");
            }
        }
        for (what, needle) in needles {
            for (who, program) in
                [("beacon", &road.beacon), ("broker", &road.proxy), ("bridge", &road.bridge)]
            {
                let found = scan(program.pid(), needle.as_bytes());
                assert!(found.bytes > 1 << 20, "{who}: only {} bytes were read", found.bytes);
                assert!(found.hits.is_empty(), "{who} has the {what}:\n{}", found.shown());
            }
        }
        let there = scan(road.bao.pid(), value.as_bytes());
        assert!(!there.hits.is_empty(), "the scan finds the value nowhere, so it is blind");
        road.networks.assert_eu_is_closed(road.bao.port());
    }

    #[test]
    fn a_cluster_that_is_put_out_gets_nothing_more_and_running_apps_keep_what_they_have() {
        let Some(networks) = networks() else { skip!("see above") };
        let road = Road::start_enrolled(networks);
        let (value, path) = (canary(), canary());
        road.bao.put_within(&road.networks.eu, &path, &json!({ "password": value }));
        let running = launch(&road, &path);
        let words = ["/bin/sh", "-c", "echo up; read go; echo $S"];
        let mut running = road.networks.cluster.within(|| running.spawn(words));
        // It has its value before the cluster is put out, or it would be refused as a new start is.
        running.until_stdout("the app, up", |out| out.starts_with(b"up"));
        assert_eq!(app_prints(&road, &path), value);

        let status = road.bridge_says(&["status", "--config", "bridge.toml", "--json"]);
        let status: Value = serde_json::from_str(&status).unwrap();
        let key = status.pointer("/clusters/0/key").unwrap().as_str().unwrap();
        assert_eq!(status.pointer("/clusters/0/standing").unwrap(), "approved");
        let said = road.bridge_says(&["revoke", "--config", "bridge.toml", key]);
        assert!(said.contains(key), "{said}");

        let refused = app(&road, &path);
        assert_ne!(refused.code(), 0, "{}", refused.text());
        assert!(road.proxy.log().contains("revoked"), "{}", road.proxy.log());
        running.write(b"\n");
        let output = running.wait();
        let printed = format!("up\n{value}\n");
        assert_eq!((output.code(), output.text()), (0, printed), "{}", output.stderr);

        let audit = road.file("enrolment/audit.jsonl");
        let acts: Vec<String> = audit
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap())
            .map(|line| line.pointer("/act").unwrap().as_str().unwrap().to_owned())
            .collect();
        assert_eq!(acts[..3], ["invited", "joined", "approved"]);
        assert_eq!(acts.last().unwrap(), "revoked");
    }

    #[test]
    fn whoever_is_killed_apps_that_start_meanwhile_wait_and_get_their_secret() {
        let Some(networks) = networks() else { skip!("see above") };
        let mut road = Road::start_enrolled(networks);
        let (value, path) = (canary(), canary());
        road.bao.put_within(&road.networks.eu, &path, &json!({ "password": value }));
        assert_eq!(app_prints(&road, &path), value);
        for victim in ["beacon", "bridge", "broker", "all"] {
            for (name, program) in [
                ("beacon", &mut road.beacon),
                ("bridge", &mut road.bridge),
                ("broker", &mut road.proxy),
            ] {
                if victim == name || victim == "all" {
                    assert_eq!(program.end(Signal::SIGKILL), None);
                }
            }
            // Starts while somebody is away.
            let waiting = launch(&road, &path);
            let waiting =
                road.networks.cluster.within(|| waiting.spawn(["/bin/sh", "-c", "echo $S"]));
            thread::sleep(Duration::from_secs(1));
            let began = Instant::now();
            match victim {
                "beacon" => road.restart_beacon(),
                "bridge" => road.restart_bridge(),
                "broker" => road.restart_broker(),
                _ => {
                    road.restart_beacon();
                    road.restart_bridge();
                    road.restart_broker();
                }
            }
            let output = waiting.wait();
            assert_eq!(
                (output.code(), output.text().trim()),
                (0, &*value),
                "{victim}: {}\nbroker: {}",
                output.stderr,
                road.proxy.log()
            );
            println!("{victim}: {:?} after it was there again", began.elapsed());
        }
    }

    #[test]
    fn openbao_that_stands_still_is_waited_for() {
        let Some(networks) = networks() else { skip!("see above") };
        let road = Road::start_enrolled(networks);
        let (value, path) = (canary(), canary());
        road.bao.put_within(&road.networks.eu, &path, &json!({ "password": value }));
        let openbao = Pid::from_raw(road.bao.pid());
        signal::kill(openbao, Signal::SIGSTOP).unwrap();
        let waiting = launch(&road, &path);
        let waiting = road.networks.cluster.within(|| waiting.spawn(["/bin/sh", "-c", "echo $S"]));
        thread::sleep(Duration::from_secs(3));
        signal::kill(openbao, Signal::SIGCONT).unwrap();
        let output = waiting.wait();
        assert_eq!((output.code(), output.text().trim()), (0, &*value), "{}", output.stderr);
        until("the end of its session", Duration::from_secs(30), || {
            road.bridge.log().contains("session ended").then_some(())
        });
    }
}
