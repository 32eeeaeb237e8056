//! The bridge decides: an app gets what the policy releases to its workload, and nobody else does;
//! no hop keeps any of it, and each release has a line that says so without saying what.

#[cfg(test)]
mod tests {
    use std::{
        io::Write as _,
        net::TcpListener,
        path::Path,
        thread,
        time::{Duration, Instant},
    };

    use cloudtaser_e2e::{
        Launch, Output, Pod, Recorder, Releases, WAITS, canary, find, scan, skip,
    };
    use nix::sys::signal::Signal;
    use serde_json::{Value, json};

    /// Everything below `shop` to its accounts, well protected.
    const POLICY: &str = r#"
[[rule]]
name = "shop"
paths = ["secret/shop"]
identities = ["eu:shop/*"]
require = ["memory=sealed", "transport=hybrid", "release=bridge", "T5=partial"]
"#;

    fn road() -> Option<Releases> {
        Releases::or_skip(|networks| Releases::start(networks, POLICY))
    }

    fn within<T: Send>(road: &Releases, work: impl FnOnce() -> T + Send) -> T {
        road.networks.cluster.within(work)
    }

    fn run(road: &Releases, launch: &Launch) -> Output {
        within(road, || launch.run(["/bin/sh", "-c", "echo \"got $S\""]))
    }

    #[track_caller]
    fn refused(road: &Releases, output: &Output, code: i32, part: &str) {
        let told = || format!("{}\nbridge: {}", output.stderr, road.bridge.log());
        assert_eq!(output.code(), code, "{}", told());
        assert!(output.stderr.contains(part), "no {part:?} in {}", told());
        assert_eq!(output.text(), "", "the app was started");
    }

    /// A text and its halves: a copy that was cut is a copy.
    fn parts(text: &str) -> [&str; 3] {
        let (head, tail) = text.split_at(text.len() / 2);
        [text, head, tail]
    }

    #[track_caller]
    fn nothing_in(who: &str, pid: i32, needles: &[(&str, &str)]) {
        for (what, text) in needles {
            for part in parts(text) {
                let found = scan(pid, part.as_bytes());
                assert!(found.bytes > 1 << 20, "{who}: only {} bytes were read", found.bytes);
                assert!(found.hits.is_empty(), "{who} has {what} ({part}):\n{}", found.shown());
            }
        }
    }

    #[test]
    fn an_app_gets_its_secret_and_no_hop_has_it() {
        let Some(road) = road() else { skip!("see above") };
        let (value, other, name) = (canary(), canary(), canary());
        let path = format!("shop/{name}");
        road.put(&path, &json!({ "password": value, "more": other }));
        let pod = Pod::new("shop", "web");
        let token = road.issuer.token(&pod, 3600);
        let recorder = Recorder::start(&road.networks.cluster, &road.beacon_address());
        let launch = road
            .launch(&road.token_file("token", &token))
            .env("CLOUDTASER_BROKER_ADDR", recorder.address().to_string())
            .env("CLOUDTASER_ROTATE_EVERY", "1s")
            .env("S", format!("vault:secret/data/{path}#password"))
            .env("T", format!("vault:secret/{path}#more"));
        let mut running = within(&road, || launch.spawn(WAITS));
        let wanted = format!("got {value}\n");
        running.until_stdout("the value", |out| out == wanted.as_bytes());

        let needles =
            [("value", &*value), ("other value", &*other), ("token", &*token), ("path", &*name)];
        let until = Instant::now() + Duration::from_secs(3);
        while Instant::now() < until {
            nothing_in("the bridge", road.bridge.pid(), &needles);
            nothing_in("the beacon", road.beacon.pid(), &needles);
        }
        let wrappers = [("value", &*value), ("other value", &*other), ("token", &*token)];
        nothing_in("the wrapper", running.pid(), &wrappers);
        for (what, needle) in [("value", &value), ("path", &name)] {
            let there = scan(road.bao.pid(), needle.as_bytes());
            assert!(!there.hits.is_empty(), "the scan finds the {what} nowhere, so it is blind");
        }
        running.close_stdin();
        assert_eq!(running.wait().code(), 0);
        nothing_in("the bridge, afterwards,", road.bridge.pid(), &needles);

        on_the_wire(&recorder, &needles);
        written_down(&road, &path, &pod, &needles);
    }

    /// What an auditor concludes who has a file, a policy and nothing else.
    #[test]
    fn a_release_is_proved_by_its_receipt_to_whom_has_the_bundle_alone() {
        let Some(road) = road() else { skip!("see above") };
        let (value, name) = (canary(), canary());
        let path = format!("shop/{name}");
        road.put(&path, &json!({ "password": value }));
        let launch = road
            .launch_of(&Pod::new("shop", "web"))
            .env("S", format!("vault:secret/data/{path}#password"));
        let output = run(&road, &launch);
        road.gave(&output, &value);
        let lines = road.audit().1;
        let released = lines.iter().find(|line| line["decision"] == "released").unwrap();
        assert_eq!(released["log"]["hash"].as_str().unwrap().len(), 64);
        let index = format!("\"index\":{}", released["log"]["number"]);

        let evidence = |words: &[&str]| road.evidence(words);
        let open = format!("secret/data/{path}");
        let words = ["--out", "bundle", "--names-key", "state/audit.key", "--open", &open];
        // What was written in the last moment is not in the tiles yet.
        let until = Instant::now() + Duration::from_secs(10);
        let shown = loop {
            evidence(&[&["export", "state/log"][..], &words].concat()).unwrap();
            let shown = evidence(&["show", "bundle", "--json"]).unwrap();
            if !shown.is_empty() {
                break shown;
            }
            assert!(Instant::now() < until, "the receipt is not exported");
            thread::sleep(Duration::from_millis(200));
        };
        for part in [&*index, "\"shop\"", "\"web\"", "X25519MLKEM768", "X-Wing"] {
            assert!(shown.contains(part), "{part} is not in {shown}");
        }
        for hidden in parts(&value).into_iter().chain(parts(&name)) {
            assert!(!shown.contains(hidden));
        }
        let policy = ["--policy", "state/log.policy", "--json"];
        let verified = evidence(&[&["verify", "bundle"][..], &policy].concat()).unwrap();
        assert!(verified.contains(&open), "the name that was opened: {verified}");
        let verified: Value = serde_json::from_str(&verified).expect("JSON");
        for (claim, standing) in [
            ("C2", "pass"),
            ("C3", "pass"),
            ("C4", "not-provable"),
            ("C5", "pass"),
            ("C6", "not-provable"),
            ("C8", "pass"),
        ] {
            let claims = verified["claims"].as_array().expect("claims");
            let found = claims.iter().find(|found| found["id"] == claim).expect("the claim");
            assert_eq!(found["standing"], standing, "{found}");
        }
        let words = ["bundle", "--framework", "gdpr"];
        let report = road.cli("report", &[&words[..], &policy].concat()).unwrap();
        let report: Value = serde_json::from_str(&report).expect("JSON");
        for (article, shown) in
            [("Art. 25", "supported"), ("Art. 28", "not-shown"), ("Art. 44–46", "partly-supported")]
        {
            let lines = report["lines"].as_array().expect("lines");
            let line = lines.iter().find(|line| line["article"] == article).expect("the line");
            assert_eq!(line["shown"], shown, "{line}");
        }
        let out = ["--policy", "state/log.policy", "--out", "/dev/stdout"];
        let page = road.cli("report", &[&words[..], &out].concat()).unwrap();
        assert!(page.contains(&open) && !page.contains(&value), "the name alone is on the page");
    }

    /// Nothing in clear, and the key exchange is the hybrid one and no other.
    fn on_the_wire(recorder: &Recorder, needles: &[(&str, &str)]) {
        let seen = recorder.seen();
        assert!(!seen.is_empty(), "nothing passed");
        for (there, back) in &seen {
            for (what, text) in needles {
                for part in parts(text) {
                    for bytes in [there, back] {
                        assert!(find(bytes, part.as_bytes()).is_empty(), "{what} on the wire");
                    }
                }
            }
            assert_eq!(offered_groups(there), [0x11ec], "the client's key shares");
            assert_eq!(chosen_group(back), 0x11ec, "the server's key share");
        }
    }

    fn number(bytes: &[u8], at: usize) -> usize {
        usize::from(bytes[at]) << 8 | usize::from(bytes[at + 1])
    }

    /// The body of an extension in a hello, whose extensions begin here.
    fn extension(hello: &[u8], mut at: usize, kind: usize) -> &[u8] {
        at += 2;
        loop {
            let len = number(hello, at + 2);
            if number(hello, at) == kind {
                return &hello[at + 4..at + 4 + len];
            }
            at += 4 + len;
        }
    }

    /// RFC 8446, 4.1.2 and 4.2.8.
    fn offered_groups(stream: &[u8]) -> Vec<usize> {
        let hello = &stream[5..];
        assert_eq!((stream[0], hello[0]), (22, 1), "no ClientHello");
        let session = 4 + 2 + 32;
        let suites = session + 1 + usize::from(hello[session]);
        let compression = suites + 2 + number(hello, suites);
        let extensions = compression + 1 + usize::from(hello[compression]);
        let shares = extension(hello, extensions, 51);
        let (mut groups, mut at) = (Vec::new(), 2);
        while at < shares.len() {
            groups.push(number(shares, at));
            at += 4 + number(shares, at + 2);
        }
        groups
    }

    /// RFC 8446, 4.1.3.
    fn chosen_group(stream: &[u8]) -> usize {
        let hello = &stream[5..];
        assert_eq!((stream[0], hello[0]), (22, 2), "no ServerHello");
        let session = 4 + 2 + 32;
        let extensions = session + 1 + usize::from(hello[session]) + 2 + 1;
        assert_eq!(extension(hello, extensions, 43), [3, 4], "TLS 1.3");
        number(extension(hello, extensions, 51), 0)
    }

    /// One line per release, with everything but what was released.
    fn written_down(road: &Releases, path: &str, pod: &Pod, needles: &[(&str, &str)]) {
        let (text, lines) = road.audit();
        for (what, needle) in needles {
            for part in parts(needle) {
                assert!(!text.contains(part), "{what} is in the audit file:\n{text}");
            }
        }
        assert!(!text.contains("shop/canary"), "{text}");
        let numbers = lines.iter().map(|line| line["seq"].as_u64().unwrap()).collect::<Vec<_>>();
        let gapless = (1..=u64::try_from(lines.len()).unwrap()).collect::<Vec<_>>();
        assert_eq!(numbers, gapless);
        assert_eq!((&lines[0]["event"], &lines[0]["decision"]), (&json!("login"), &json!("done")));
        let hash = road.path_hash(&format!("secret/{path}"));
        let released = lines.iter().filter(|line| line["path_hmac"] == json!(hash));
        let released = released.collect::<Vec<_>>();
        assert!(released.len() >= 2, "both launches of references and the polls: {text}");
        for line in released {
            assert_eq!(line["decision"], "released");
            assert_eq!(line["identity"], "eu:shop/web");
            assert_eq!(line["pod"], pod.uid());
            assert_eq!((&line["rule"], &line["version"]), (&json!("shop"), &json!(1)));
            assert_eq!(line["bridge"], "sealed");
            assert_eq!(line["facets"]["memory"], "sealed");
            for hash in ["policy", "wrapper", "session", "instance"] {
                assert_eq!(line[hash].as_str().unwrap().len(), 64, "{hash} in {line}");
            }
        }
        assert_eq!(lines.last().unwrap()["event"], "leave", "{text}");
    }

    fn last(road: &Releases) -> Value {
        road.audit().1.last().unwrap().clone()
    }

    #[test]
    fn what_the_policy_does_not_release_is_refused_with_the_reason() {
        let Some(road) = road() else { skip!("see above") };
        let value = canary();
        road.put("shop/db", &json!({ "password": value }));
        road.put("pay/db", &json!({ "password": value }));
        let db = "vault:secret/data/shop/db#password";
        let mine = || road.launch_of(&Pod::new("shop", "web"));
        road.gave(&run(&road, &mine().env("S", db)), &value);

        let other = road.launch_of(&Pod::new("pay", "web")).env("S", db);
        refused(&road, &run(&road, &other), 76, "not for this workload and operation");
        let line = last_of(&road, "read");
        assert_eq!(
            (&line["decision"], &line["identity"]),
            (&json!("policy"), &json!("eu:pay/web"))
        );

        let elsewhere = mine().env("S", "vault:secret/pay/db#password");
        refused(&road, &run(&road, &elsewhere), 76, "no rule of the policy names this path");
        assert_eq!(last_of(&road, "read")["decision"], "policy");

        let weak = mine().env("S", db).env("CLOUDTASER_DELIVERY", "plain");
        refused(&road, &run(&road, &weak), 76, "memory=sealed is required");
        assert_eq!(last_of(&road, "read")["decision"], "level");

        let missing = mine().env("S", "vault:secret/shop/none#password");
        refused(&road, &run(&road, &missing), 76, "404, nothing is there");
        assert_eq!(last_of(&road, "read")["decision"], "not-found");
        let field = mine().env("S", "vault:secret/shop/db#pasword");
        refused(&road, &run(&road, &field), 76, "has no field");
    }

    fn last_of(road: &Releases, event: &str) -> Value {
        let lines = road.audit().1;
        lines.into_iter().rev().find(|line| line["event"] == event).unwrap()
    }

    #[test]
    fn a_token_that_is_none_lets_nobody_in() {
        let Some(road) = road() else { skip!("see above") };
        road.put("shop/db", &json!({ "password": canary() }));
        let pod = Pod::new("shop", "web");
        let with = |token: &str| {
            let file = road.token_file("odd", token);
            road.launch(&file).env("S", "vault:secret/shop/db#password")
        };
        let good = road.issuer.token(&pod, 3600);
        let mut forged = good.into_bytes();
        let at = forged.len() - 20;
        forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
        let mut elsewhere = cloudtaser_e2e::Issuer::claims(&pod, 3600);
        elsewhere["aud"] = json!(["openbao"]);
        let mut unbound = cloudtaser_e2e::Issuer::claims(&pod, 3600);
        drop(unbound["kubernetes.io"].as_object_mut().unwrap().remove("pod"));
        for (token, part) in [
            (String::from_utf8(forged).unwrap(), "no issuer of this client has signed the token"),
            (road.issuer.token(&pod, -120), "the token expired"),
            (road.issuer.signed(&elsewhere), "another audience"),
            (road.issuer.signed(&unbound), "bound to no pod"),
        ] {
            refused(&road, &run(&road, &with(&token)), 76, part);
            let line = last(&road);
            assert_eq!((&line["event"], &line["decision"]), (&json!("login"), &json!("token")));
            assert!(line.get("identity").is_none(), "believed: {line}");
        }
    }

    #[test]
    fn a_pods_token_is_worth_nothing_once_its_wrapper_has_logged_in() {
        let Some(mut road) = road() else { skip!("see above") };
        let value = canary();
        road.put("shop/db", &json!({ "password": value }));
        let pod = Pod::new("shop", "web");
        let token = road.issuer.token(&pod, 3600);
        let file = road.token_file("token", &token);
        let launch = |file: &Path| road_launch(&road, file);
        let first = launch(&file);
        let mut running = within(&road, || first.spawn(WAITS));
        let wanted = format!("got {value}\n");
        running.until_stdout("the value", |out| out == wanted.as_bytes());

        let thief = launch(&file);
        refused(&road, &run(&road, &thief), 76, "this pod has logged in already");
        assert_eq!(last(&road)["decision"], "replay");
        let fresh = road.token_file("fresh", &road.issuer.token(&pod, 3600));
        let thief = launch(&fresh);
        refused(&road, &run(&road, &thief), 76, "this pod has logged in already");
        road.restart_bridge(Signal::SIGKILL);
        let thief = road_launch(&road, &fresh);
        refused(&road, &run(&road, &thief), 76, "this pod has logged in already");

        // A container that is started again is another matter.
        running.close_stdin();
        assert_eq!(running.wait().code(), 0);
        let again = road_launch(&road, &fresh);
        road.gave(&run(&road, &again), &value);
        // Other pods were never meant.
        let other = road.launch_of(&Pod::new("shop", "web"));
        road.gave(&run(&road, &other.env("S", "vault:secret/shop/db#password")), &value);
    }

    fn road_launch(road: &Releases, file: &Path) -> Launch {
        road.launch(file).env("S", "vault:secret/shop/db#password")
    }

    #[test]
    fn a_policy_is_replaced_while_the_bridge_runs_and_a_broken_one_changes_nothing() {
        let Some(road) = road() else { skip!("see above") };
        let value = canary();
        road.put("pay/db", &json!({ "password": value }));
        let launch =
            || road.launch_of(&Pod::new("shop", "web")).env("S", "vault:secret/pay/db#password");
        refused(&road, &run(&road, &launch()), 76, "no rule of the policy names this path");
        let before = last_of(&road, "read")["policy"].clone();

        road.policy(&POLICY.replace("secret/shop", "secret/pay"));
        road.gave(&run(&road, &launch()), &value);
        let after = last_of(&road, "read")["policy"].clone();
        assert_ne!(before, after);

        road.policy("[[rule]]\nname = \"slip\"\npath = [\"secret\"]\n");
        assert!(road.bridge.log().contains("the release policy stays as it was"));
        road.gave(&run(&road, &launch()), &value);
        road.policy("");
        refused(&road, &run(&road, &launch()), 76, "no rule of the policy names this path");
    }

    #[test]
    fn a_bridge_that_is_killed_takes_no_app_with_it_and_is_found_again() {
        let Some(mut road) = road() else { skip!("see above") };
        let (value, newer) = (canary(), canary());
        road.put("shop/db", &json!({ "password": value }));
        let launch = road
            .launch_of(&Pod::new("shop", "web"))
            .without_flag("--quiet")
            .env("CLOUDTASER_ROTATE_EVERY", "1s")
            .env("CLOUDTASER_ROTATE_ACTION", "in-place")
            .env("S", "vault:secret/shop/db#password");
        let mut running = within(&road, || launch.spawn(WAITS));
        let wanted = format!("got {value}\n");
        running.until_stdout("the value", |out| out == wanted.as_bytes());

        road.stop_bridge(Signal::SIGKILL);
        thread::sleep(Duration::from_secs(2));
        assert!(!running.ended(), "{}", running.stderr());
        road.put("shop/db", &json!({ "password": newer }));
        // One that is to start meanwhile waits for the bridge.
        let late = road.launch_of(&Pod::new("shop", "web"));
        let late = late.env("S", "vault:secret/shop/db#password");
        let mut waiting = within(&road, || late.spawn(WAITS));
        road.start_bridge_again();
        running.until_stderr("values changed and were written in place");
        let wanted = format!("got {newer}\n");
        waiting.until_stdout("the newer value", |out| out == wanted.as_bytes());
        for mut app in [running, waiting] {
            app.close_stdin();
            assert_eq!(app.wait().code(), 0);
        }
        let (_, lines) = road.audit();
        let numbers = lines.iter().map(|line| line["seq"].as_u64().unwrap()).collect::<Vec<_>>();
        let gapless = (1..=u64::try_from(lines.len()).unwrap()).collect::<Vec<_>>();
        assert_eq!(numbers, gapless, "a line was lost or is there twice");
    }

    #[test]
    fn a_login_that_cannot_live_longer_is_made_again() {
        let Some(road) = road() else { skip!("see above") };
        let (value, newer) = (canary(), canary());
        road.put("shop/db", &json!({ "password": value }));
        let launch = road
            .launch_of(&Pod::new("shop", "web"))
            .without_flag("--quiet")
            .env("VAULT_ROLE", "short")
            .env("CLOUDTASER_ROTATE_EVERY", "1s")
            .env("CLOUDTASER_ROTATE_ACTION", "in-place")
            .env("S", "vault:secret/shop/db#password");
        let mut running = within(&road, || launch.spawn(WAITS));
        let wanted = format!("got {value}\n");
        running.until_stdout("the value", |out| out == wanted.as_bytes());
        let logins = || {
            let lines = road.audit().1;
            lines.iter().filter(|line| line["event"] == "login").count()
        };
        let end = Instant::now() + Duration::from_secs(40);
        while logins() < 4 {
            assert!(Instant::now() < end, "{}\n{}", running.stderr(), road.bridge.log());
            thread::sleep(Duration::from_millis(100));
        }
        road.put("shop/db", &json!({ "password": newer }));
        running.until_stderr("values changed and were written in place");
        running.close_stdin();
        assert_eq!(running.wait().code(), 0);
    }

    #[test]
    fn an_enrolled_clusters_app_is_released_to_by_its_broker_until_the_cluster_is_put_out() {
        let road = Releases::or_skip(|networks| Releases::start_enrolled(networks, POLICY));
        let Some(road) = road else { return };
        let (value, name) = (canary(), canary());
        road.put(&format!("shop/{name}"), &json!({ "password": value }));
        let token = road.issuer.token(&Pod::new("shop", "web"), 3600);
        let launch = road
            .launch(&road.token_file("token", &token))
            .without_flag("--quiet")
            .env("CLOUDTASER_ROTATE_EVERY", "1s")
            .env("S", format!("vault:secret/shop/{name}#password"));
        let mut running = within(&road, || launch.spawn(WAITS));
        let wanted = format!("got {value}\n");
        running.until_stdout("the value", |out| out == wanted.as_bytes());
        let needles = [("value", &*value), ("token", &*token), ("path", &*name)];
        nothing_in("the broker", road.broker().pid(), &needles);
        nothing_in("the beacon", road.beacon.pid(), &needles);
        nothing_in("the bridge", road.bridge.pid(), &needles);
        let line = last_of(&road, "read");
        assert_eq!((&line["client"], &line["decision"]), (&json!("prod"), &json!("released")));

        let accessors = || within_eu(&road, || road.bao.accessors().len());
        let before = accessors();
        road.revoke();
        running.until_stderr("the cluster was revoked or is not enrolled");
        assert!(!running.ended(), "the app was ended: {}", running.stderr());
        cloudtaser_e2e::until("the end of its login", Duration::from_secs(30), || {
            (accessors() < before).then_some(())
        });
        let late = road.launch_of(&Pod::new("shop", "web"));
        let late = late.env("S", "vault:secret/shop/db#password");
        refused(&road, &run(&road, &late), 64, "the cluster was revoked or is not enrolled");
        running.close_stdin();
        assert_eq!(running.wait().code(), 0);
    }

    fn within_eu<T: Send>(road: &Releases, work: impl FnOnce() -> T + Send) -> T {
        road.networks.eu.within(work)
    }

    #[test]
    fn a_bridge_that_is_away_is_named_when_time_is_up() {
        let Some(mut road) = road() else { skip!("see above") };
        road.stop_bridge(Signal::SIGTERM);
        let launch = road
            .launch_of(&Pod::new("shop", "web"))
            .env("CLOUDTASER_DEADLINE", "2s")
            .env("S", "vault:secret/shop/db#password");
        refused(&road, &run(&road, &launch), 69, "closed the connection without a word");
    }

    #[test]
    fn something_that_opens_tls_on_the_way_ends_the_launch_and_is_named() {
        let Some(road) = road() else { skip!("see above") };
        let address = within(&road, || {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            thread::spawn(move || {
                for mut stream in listener.incoming().flatten() {
                    let _gone = stream.write_all(b"HTTP/1.1 403 Blocked by policy\r\n\r\n");
                    thread::sleep(Duration::from_millis(200));
                }
            });
            address
        });
        let launch = road
            .launch_of(&Pod::new("shop", "web"))
            .env("CLOUDTASER_BROKER_ADDR", address.to_string())
            .env("S", "vault:secret/shop/db#password");
        refused(&road, &run(&road, &launch), 77, "something on the way opens TLS");
    }
}
