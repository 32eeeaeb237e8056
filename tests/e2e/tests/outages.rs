//! Everything on the road goes away and comes back: OpenBao is sealed or killed, beacons and bridge
//! are killed, the network swallows what is sent. Apps that run are untouched, what starts waits for
//! its deadline and says why, and no line of the audit file is lost or there twice.

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, thread, time::Duration};

    use cloudtaser_e2e::{
        Launch, Output, Pod, Releases, Running, SHOP, Side, WAITS, canary, skip, until,
    };
    use nix::sys::signal::Signal;
    use serde_json::{Value, json};

    /// Far more than anything takes.
    const PATIENCE: Duration = Duration::from_secs(240);

    fn road() -> Option<Releases> {
        Releases::or_skip(|networks| Releases::start_lasting(networks, SHOP))
    }

    fn of_a_pod(road: &Releases) -> Launch {
        road.launch_of(&Pod::new("shop", "web"))
            .env("S", "vault:secret/shop/db#password")
            .env("CLOUDTASER_DEADLINE", "180s")
            .patience(PATIENCE)
    }

    fn spawn(road: &Releases, launch: &Launch) -> Running {
        road.networks.cluster.within(|| launch.spawn(WAITS))
    }

    fn run(road: &Releases, launch: &Launch) -> Output {
        road.networks.cluster.within(|| launch.run(["/bin/sh", "-c", "echo \"got $S\""]))
    }

    /// An app that looks for new values and takes them in place.
    fn rotating(road: &Releases) -> Launch {
        of_a_pod(road)
            .without_flag("--quiet")
            .env("CLOUDTASER_ROTATE_EVERY", "500ms")
            .env("CLOUDTASER_ROTATE_ACTION", "in-place")
    }

    fn got(running: &mut Running, value: &str) {
        let wanted = format!("got {value}\n");
        running.until_stdout("the value", |out| out == wanted.as_bytes());
    }

    fn put(road: &Releases, value: &str) {
        road.put("shop/db", &json!({ "password": value }));
    }

    fn ends(mut app: Running) {
        app.close_stdin();
        assert_eq!(app.wait().code(), 0);
    }

    /// Every number is there once, no request of OpenBao's was recorded twice, and each launch that
    /// got something has its line.
    fn nothing_is_lost_or_doubled(road: &Releases, launches: usize) {
        let (text, lines) = road.audit();
        let numbers = lines.iter().map(|line| line["seq"].as_u64().unwrap()).collect::<Vec<_>>();
        let gapless = (1..=u64::try_from(lines.len()).unwrap()).collect::<Vec<_>>();
        assert_eq!(numbers, gapless, "a line was lost or is there twice");
        let released = |line: &&Value| line["event"] == "read" && line["decision"] == "released";
        let released = lines.iter().filter(released).collect::<Vec<_>>();
        let requests = released.iter().map(|line| line["request"].as_str().expect("its name"));
        let requests = requests.collect::<BTreeSet<_>>();
        assert_eq!(requests.len(), released.len(), "a request is there twice: {text}");
        let pods = released.iter().map(|line| line["pod"].as_str().expect("a pod"));
        assert_eq!(pods.collect::<BTreeSet<_>>().len(), launches, "{text}");
        // OpenBao wrote its own line of each before it answered.
        let audit = std::fs::read_to_string(road.bao.audit_log()).expect("OpenBao's audit log");
        for request in requests {
            assert!(audit.contains(request), "OpenBao knows of no request {request}");
        }
    }

    #[test]
    fn a_sealed_openbao_is_named_by_all_and_waited_for_and_apps_that_run_are_untouched() {
        let Some(road) = road() else { skip!("see above") };
        let (value, newer) = (canary(), canary());
        put(&road, &value);
        let mut running = spawn(&road, &rotating(&road));
        got(&mut running, &value);
        assert!(road.status().contains("OpenBao serves"), "{}", road.status());

        road.networks.eu.within(|| road.bao.seal());
        let refused = run(&road, &of_a_pod(&road).env("CLOUDTASER_DEADLINE", "10s"));
        assert_eq!(refused.code(), 69, "{}", refused.stderr);
        assert!(refused.stderr.contains("OpenBao is sealed"), "{}", refused.stderr);
        assert_eq!(refused.text(), "", "the app was started");
        road.bridge.until_logged("OpenBao is sealed");
        assert!(road.status().contains("OpenBao is sealed"), "{}", road.status());
        running.until_stderr("failed and is tried again");
        assert!(!running.ended(), "{}", running.stderr());

        let mut waiting = spawn(&road, &of_a_pod(&road));
        thread::sleep(Duration::from_secs(1));
        assert!(!waiting.ended(), "{}", waiting.stderr());
        assert_eq!(waiting.stdout(), b"", "the app was started");
        road.networks.eu.within(|| road.bao.unseal());
        got(&mut waiting, &value);
        road.bridge.until_logged("OpenBao serves again");
        put(&road, &newer);
        running.until_stderr("values changed and were written in place");
        for app in [running, waiting] {
            ends(app);
        }
        nothing_is_lost_or_doubled(&road, 2);
    }

    #[test]
    fn an_openbao_that_is_killed_while_many_start_takes_none_of_them_with_it() {
        let Some(mut road) = road() else { skip!("see above") };
        let value = canary();
        put(&road, &value);
        let mut running = spawn(&road, &rotating(&road));
        got(&mut running, &value);
        let before = (0..3).map(|_| spawn(&road, &of_a_pod(&road))).collect::<Vec<_>>();
        road.bao.crash();
        let after = (0..3).map(|_| spawn(&road, &of_a_pod(&road))).collect::<Vec<_>>();
        road.bridge.until_logged("OpenBao cannot be reached");
        assert!(!running.ended(), "{}", running.stderr());
        restart_openbao(&mut road);
        let mut apps = before.into_iter().chain(after).collect::<Vec<_>>();
        for app in &mut apps {
            got(app, &value);
        }
        apps.push(running);
        let launches = apps.len();
        for app in apps {
            ends(app);
        }
        nothing_is_lost_or_doubled(&road, launches);
    }

    fn restart_openbao(road: &mut Releases) {
        let (networks, bao) = (&road.networks, &mut road.bao);
        networks.eu.within(|| {
            bao.start_again();
            bao.unseal();
        });
    }

    #[test]
    fn all_are_killed_together_and_all_of_it_comes_back() {
        let Some(mut road) = road() else { skip!("see above") };
        let (value, newer) = (canary(), canary());
        put(&road, &value);
        let mut running = spawn(&road, &rotating(&road));
        got(&mut running, &value);
        road.bao.crash();
        road.kill_beacon(0);
        road.kill_beacon(1);
        road.stop_bridge(Signal::SIGKILL);
        let mut waiting = (0..3).map(|_| spawn(&road, &of_a_pod(&road))).collect::<Vec<_>>();
        running.until_stderr("failed and is tried again");
        // The bridge is there before anything that it needs.
        road.start_bridge_unregistered();
        road.start_beacon_again(1);
        road.start_beacon_again(0);
        restart_openbao(&mut road);
        for app in &mut waiting {
            got(app, &value);
        }
        put(&road, &newer);
        running.until_stderr("values changed and were written in place");
        let launches = waiting.len() + 1;
        for app in waiting.into_iter().chain([running]) {
            ends(app);
        }
        nothing_is_lost_or_doubled(&road, launches);
    }

    /// A thousand of them are `cargo xtask soak`'s.
    #[test]
    fn of_two_beacons_one_is_killed_and_no_start_fails() {
        let Some(mut road) = road() else { skip!("see above") };
        let value = canary();
        put(&road, &value);
        let mut launches = 0;
        for which in [0, 1, 0] {
            for stage in ["before", "without it", "after"] {
                match stage {
                    "without it" => road.kill_beacon(which),
                    "after" => road.start_beacon_again(which),
                    _ => {}
                }
                for _ in 0..2 {
                    let output = run(&road, &of_a_pod(&road));
                    assert_eq!(
                        output.text(),
                        format!("got {value}\n"),
                        "{stage}: {}",
                        output.stderr
                    );
                    launches += 1;
                }
            }
            // Else the next one would be the only one that the bridge is at.
            road.until_registered();
        }
        nothing_is_lost_or_doubled(&road, launches);
    }

    /// Ten minutes of it are `cargo xtask soak`'s.
    #[test]
    fn a_network_that_swallows_everything_heals_by_itself() {
        let Some(road) = road() else { skip!("see above") };
        let (value, newer) = (canary(), canary());
        put(&road, &value);
        let mut running = spawn(&road, &rotating(&road));
        got(&mut running, &value);
        for side in [Side::Eu, Side::Cluster] {
            road.networks.cut(side);
            let mut waiting = spawn(&road, &of_a_pod(&road));
            thread::sleep(Duration::from_secs(4));
            assert!(!waiting.ended(), "{}", waiting.stderr());
            assert_eq!(waiting.stdout(), b"", "something went through");
            assert!(!running.ended(), "{}", running.stderr());
            road.networks.heal(side);
            got(&mut waiting, &value);
            ends(waiting);
        }
        put(&road, &newer);
        running.until_stderr("values changed and were written in place");
        ends(running);
        nothing_is_lost_or_doubled(&road, 3);
        until("the end of all sessions", PATIENCE, || {
            let log = road.bridge.log();
            (log.matches("a workload has left").count() >= 3).then_some(())
        });
    }
}
