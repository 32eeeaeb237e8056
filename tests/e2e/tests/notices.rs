//! A bridge that reads along in OpenBao's audit log tells apps of new values at once: none is polled
//! for, each is released by the policy with a receipt of its own, and nobody is told of what is not
//! his.

#[cfg(test)]
mod tests {
    use std::{fs, thread, time::Duration};

    use cloudtaser_e2e::{Launch, Pod, Releases, Running, SHOP, WAITS, canary, scan, skip, until};
    use nix::sys::signal::Signal;
    use serde_json::{Value, json};

    const PATIENCE: Duration = Duration::from_secs(240);
    const IN_PLACE: &str = "values changed and were written in place";

    fn road() -> Option<Releases> {
        let mut road = Releases::or_skip(|networks| Releases::start_lasting(networks, SHOP))?;
        road.tell_of_changes();
        Some(road)
    }

    /// Wants new values in place, and says nothing of polls.
    fn told(road: &Releases, path: &str) -> Launch {
        road.launch_of(&Pod::new("shop", "web"))
            .without_flag("--quiet")
            .env("S", format!("vault:secret/data/{path}#password"))
            .env("CLOUDTASER_ROTATE_ACTION", "in-place")
            .env("CLOUDTASER_DEADLINE", "120s")
            .patience(PATIENCE)
    }

    fn spawn(road: &Releases, launch: &Launch) -> Running {
        road.networks.cluster.within(|| launch.spawn(WAITS))
    }

    fn got(running: &mut Running, value: &str) {
        let wanted = format!("got {value}\n");
        running.until_stdout("the value", |out| out == wanted.as_bytes());
    }

    fn put(road: &Releases, path: &str, value: &str) {
        road.put(path, &json!({ "password": value }));
    }

    /// Waits until it was told so often of new values.
    fn changes(running: &Running, times: usize) {
        until("new values", PATIENCE, || {
            (running.stderr().matches(IN_PLACE).count() >= times).then_some(())
        });
    }

    fn releases(road: &Releases) -> Vec<Value> {
        let lines = road.audit().1;
        lines.into_iter().filter(|line| line["event"] == "read").collect()
    }

    fn ends(mut app: Running) {
        app.close_stdin();
        assert_eq!(app.wait().code(), 0);
    }

    #[test]
    fn an_app_is_told_of_each_new_value_without_a_poll_and_each_has_its_receipt() {
        let Some(road) = road() else { skip!("see above") };
        let values = [canary(), canary(), canary()];
        put(&road, "shop/db", &values[0]);
        put(&road, "shop/other", &canary());
        let mut running = spawn(&road, &told(&road, "shop/db"));
        got(&mut running, &values[0]);
        road.bridge.until_logged("is told of");
        for (at, value) in values.iter().enumerate().skip(1) {
            put(&road, "shop/db", value);
            changes(&running, at);
        }
        // Of somebody else's secret nothing is heard: it would be read again, with a receipt.
        put(&road, "shop/other", &canary());
        put(&road, "pay/db", &canary());
        thread::sleep(Duration::from_secs(1));
        let lines = releases(&road);
        let versions = lines.iter().map(|line| line["version"].as_u64()).collect::<Vec<_>>();
        assert_eq!(versions, [Some(1), Some(2), Some(3)], "{lines:?}");
        let leaves = lines.iter().map(|line| line["log"]["number"].as_u64()).collect::<Vec<_>>();
        assert!(leaves.windows(2).all(|pair| pair[0] < pair[1]), "{leaves:?}");
        for value in &values {
            let found = scan(road.bridge.pid(), value.as_bytes());
            assert!(found.hits.is_empty(), "the bridge has a value:\n{}", found.shown());
        }
        ends(running);
    }

    #[test]
    fn what_changes_while_the_bridge_is_away_is_found_when_it_is_back() {
        let Some(mut road) = road() else { skip!("see above") };
        let values = [canary(), canary(), canary()];
        put(&road, "shop/db", &values[0]);
        let mut running =
            spawn(&road, &told(&road, "shop/db").env("CLOUDTASER_ROTATE_EVERY", "1h"));
        got(&mut running, &values[0]);
        road.bridge.until_logged("is told of");
        road.stop_bridge(Signal::SIGKILL);
        put(&road, "shop/db", &values[1]);
        road.start_bridge_again();
        changes(&running, 1);
        road.bridge.until_logged("is told of");
        put(&road, "shop/db", &values[2]);
        changes(&running, 2);
        assert!(!running.ended());
        ends(running);
    }

    #[test]
    fn an_audit_log_that_is_rotated_is_followed_and_one_that_is_lost_has_apps_look_themselves() {
        let Some(road) = road() else { skip!("see above") };
        let values = [canary(), canary(), canary()];
        put(&road, "shop/db", &values[0]);
        let mut running =
            spawn(&road, &told(&road, "shop/db").env("CLOUDTASER_ROTATE_EVERY", "1s"));
        got(&mut running, &values[0]);
        road.bridge.until_logged("is told of");
        let log = road.bao.audit_log();
        fs::rename(&log, log.with_extension("1")).unwrap();
        road.bao.signal(Signal::SIGHUP);
        until("a new audit log", PATIENCE, || log.exists().then_some(()));
        put(&road, "shop/db", &values[1]);
        changes(&running, 1);

        fs::rename(&log, log.with_extension("2")).unwrap();
        road.bridge.until_logged("new values are not told of");
        put(&road, "shop/db", &values[2]);
        changes(&running, 2);
        ends(running);
    }
}
