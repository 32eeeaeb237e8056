//! `cloudtaser evidence` and `cloudtaser witness`, as an auditor and a DPO use them.

#[cfg(test)]
mod evidence {
    use std::{
        fs,
        io::{BufRead as _, BufReader},
        path::{Path, PathBuf},
        process::{Child, Command, Output, Stdio},
        time::Duration,
    };

    use cloudtaser_core::level::Verdict;
    use cloudtaser_evidence::{
        Digest, Draft, Log, keys,
        log::Options,
        receipt::{Assurance, Decision, Name, Rows, SecretEntry, Workload},
        witness::remote::Witnesses,
    };
    use serde_json::Value;
    use tempfile::TempDir;

    struct Place {
        folder: TempDir,
    }

    fn name(text: &str) -> Name {
        Name::try_from(text).unwrap()
    }

    impl Place {
        /// Keys and an empty log.
        fn new() -> Self {
            let place = Self { folder: tempfile::tempdir().unwrap() };
            let output = place.run(&["evidence", "init", "--name", "eu.example/log", "keys"]);
            assert!(output.status.success(), "{output:?}");
            place
        }

        fn path(&self, file: &str) -> PathBuf {
            self.folder.path().join(file)
        }

        fn command(&self, arguments: &[&str]) -> Command {
            let mut command = Command::new(env!("CARGO_BIN_EXE_cloudtaser"));
            command.args(arguments).current_dir(self.folder.path()).env("NO_COLOR", "1");
            command
        }

        fn run(&self, arguments: &[&str]) -> Output {
            self.command(arguments).output().unwrap()
        }

        /// Output and exit code.
        fn said(&self, line: &str) -> (String, i32) {
            let output = self.run(&line.split(' ').collect::<Vec<_>>());
            let mut text = String::from_utf8(output.stdout).unwrap();
            text.push_str(&String::from_utf8(output.stderr).unwrap());
            (text, output.status.code().unwrap())
        }

        fn json(&self, line: &str) -> Value {
            let output = self.run(&line.split(' ').collect::<Vec<_>>());
            serde_json::from_slice(&output.stdout).unwrap()
        }

        fn open(&self, options: Options) -> Log {
            let signer = keys::read_signer(&self.path("keys/log.key")).unwrap();
            Log::open(&self.path("log"), signer, options).unwrap()
        }

        fn draft(&self, secret: &str, request: &str) -> Draft {
            let key = keys::read_names(&self.path("keys/names.key")).unwrap();
            Draft {
                cluster: name("prod"),
                workload: Workload {
                    namespace: name("shop"),
                    service_account: name("api"),
                    pod: name("0a1b2c3d-0000-4000-8000-000000000001"),
                },
                role: name("shop"),
                secrets: vec![SecretEntry {
                    name: key.hash(secret, &["password"]).unwrap(),
                    version: Some(1),
                    request: Some(name(request)),
                }],
                policy: Digest::of(b"policy"),
                protection: Rows::new([
                    Verdict::Partial,
                    Verdict::Open,
                    Verdict::Partial,
                    Verdict::Closed,
                    Verdict::Open,
                    Verdict::Open,
                ]),
                assurance: Assurance::L0,
                wrapper: Some(Digest::of(b"wrapper")),
                session: Digest::of(request.as_bytes()),
                evidence: None,
                decision: Decision::Released,
                bridge: Some(Digest::of(b"bridge")),
                key_exchange: Some(name("X25519MLKEM768")),
                sealing: None,
                orders: None,
            }
        }

        /// A log of three releases and a refusal.
        fn filled() -> Self {
            let place = Self::new();
            let log = place.open(Options::default());
            for (secret, request) in [("secret/data/db", "r1"), ("secret/data/mail", "r2")] {
                log.append(place.draft(secret, request)).unwrap();
            }
            let refused = Decision::Refused(name("level-too-low"));
            let draft = place.draft("secret/data/db", "r3");
            log.append(Draft { decision: refused, secrets: Vec::new(), ..draft }).unwrap();
            log.append(place.draft("secret/data/db", "r4")).unwrap();
            place
        }
    }

    #[test]
    fn a_log_verifies_and_its_claims_are_said_with_what_they_stand_on() {
        let place = Place::filled();
        let (text, code) = place.said("evidence verify log --policy keys/policy");
        assert_eq!(code, 0, "{text}");
        for words in [
            "eu.example/log verifies at size 4",
            "4 receipts (the whole log): 3 releases, 1 refusals, 2 secrets, 1 clusters",
            "C3 pass ",
            "C4 not provable",
            "C6 not provable",
            "Under these assumptions",
            "Not covered",
            "the provider's hypervisor can read the memory of every pod",
        ] {
            assert!(
                text.split_whitespace().collect::<Vec<_>>().join(" ").contains(words),
                "{words}: {text}"
            );
        }
        assert!(!text.contains("cannot decrypt"));
        let report = place.json("evidence verify log --policy keys/policy --json");
        assert_eq!(report["schema"], 1);
        assert_eq!(report["claims"].as_array().unwrap().len(), 8);
        assert_eq!(report["tally"]["released"], 3);
        assert_eq!(report["assumptions"].as_array().unwrap().len(), 9);
        let (text, code) = place.said("evidence verify log --policy keys/policy --require C3,C6");
        assert_eq!(code, 77, "C6 is required and not provable: {text}");
        assert_eq!(place.said("evidence verify log --policy keys/policy --require C9").1, 64);
    }

    #[test]
    fn a_bundle_opens_what_its_owner_opens_and_nothing_else() {
        let place = Place::filled();
        let export = "evidence export log --out db.evidence --names-key keys/names.key \
                      --open secret/data/db#password";
        let (text, code) = place.said(&export.split_whitespace().collect::<Vec<_>>().join(" "));
        assert_eq!(code, 0, "{text}");
        let (text, code) = place.said("evidence verify db.evidence --policy keys/policy");
        assert_eq!(code, 0, "{text}");
        assert!(text.contains("secret/data/db#password: 2 releases"), "{text}");
        let bytes = fs::read(place.path("db.evidence")).unwrap();
        let contains =
            |words: &str| bytes.windows(words.len()).any(|part| part == words.as_bytes());
        assert!(contains("secret/data/db") && !contains("mail"));
        let without_key = "evidence export log --out x --open secret/data/db";
        assert_eq!(place.said(without_key).1, 64);
    }

    #[test]
    fn what_was_changed_or_cut_is_refused_with_one_code() {
        let place = Place::filled();
        assert_eq!(place.said("evidence export log --out all.evidence").1, 0);
        let bytes = fs::read(place.path("all.evidence")).unwrap();
        let bent = |at: usize| {
            let mut bent = bytes.clone();
            bent[at] ^= 1;
            bent
        };
        let wrong = [bent(0), bent(30), bent(bytes.len() / 2), bent(bytes.len() - 1)];
        let cut = bytes[..bytes.len() - 1].to_vec();
        for bytes in wrong.into_iter().chain([cut, Vec::new()]) {
            fs::write(place.path("bent"), bytes).unwrap();
            let (text, code) = place.said("evidence verify bent --policy keys/policy");
            assert_eq!(code, 77, "{text}");
            assert!(text.starts_with("error: "), "{text}");
        }
        let refused = place.json("evidence verify bent --policy keys/policy --json");
        assert!(refused["refused"].is_string());
        let (text, code) = place.said("evidence verify nothing --policy keys/policy");
        assert_eq!(code, 64, "{text}");
        fs::write(place.path("wrong-policy"), "log x\nquorum none\n").unwrap();
        let (text, code) = place.said("evidence verify all.evidence --policy wrong-policy");
        assert_eq!(code, 64, "{text}");
        assert!(text.contains("line 1"), "{text}");
    }

    #[test]
    fn receipts_are_shown_and_one_is_exported_for_other_tools() {
        let place = Place::filled();
        let (text, code) = place.said("evidence show log");
        assert_eq!(code, 0);
        assert!(text.contains("refused: level-too-low") && text.contains("L0 popcoo"), "{text}");
        let output = place.run(&["evidence", "show", "log", "--json", "--last", "2"]);
        let lines: Vec<Value> = String::from_utf8(output.stdout)
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(
            (&lines[0]["index"], &lines[0]["decision"]["refused"]),
            (&2.into(), &"level-too-low".into())
        );
        let one = "evidence export log --out one --format tlog-proof";
        assert_eq!(place.said(one).1, 64, "four are not one");
        assert_eq!(place.said(&format!("{one} --index 3")).1, 0);
        let text = fs::read_to_string(place.path("one")).unwrap();
        assert!(text.starts_with("c2sp.org/tlog-proof@v1\nextra "), "{text}");
        assert_eq!(place.said("evidence verify one --policy keys/policy").1, 0);
        assert_eq!(place.said("evidence show one").1, 0);
    }

    /// What OpenBao's file device writes, as far as it matters.
    fn audit(requests: &[&str]) -> String {
        let line = |id: &&str| {
            format!(
                "{{\"type\":\"response\",\"time\":\"2026-11-27T06:00:00Z\",\"auth\":{{\"display_name\":\
                 \"root\"}},\"request\":{{\"id\":\"{id}\",\"operation\":\"read\",\"path\":\
                 \"secret/data/db\",\"mount_type\":\"kv\"}},\"response\":{{\"data\":{{}}}}}}\n"
            )
        };
        requests.iter().map(line).collect()
    }

    #[test]
    fn a_read_around_the_log_is_found_in_openbaos_audit_log() {
        let place = Place::filled();
        let reconcile = "evidence reconcile log --policy keys/policy --bao-audit audit";
        fs::write(place.path("audit"), audit(&["r1", "r2", "r4"])).unwrap();
        let (text, code) = place.said(reconcile);
        assert_eq!(code, 0, "{text}");
        let verify = "evidence verify log --policy keys/policy --bao-audit audit --require C7";
        assert_eq!(place.said(verify).1, 0);
        fs::write(place.path("audit"), audit(&["r1", "r2", "r4", "stolen"])).unwrap();
        let (text, code) = place.said(reconcile);
        assert_eq!(code, 77);
        assert!(
            text.contains("line 4: no receipt of request stolen: root read secret/data/db"),
            "{text}"
        );
        let (text, code) = place.said(verify);
        assert_eq!(code, 77);
        assert!(text.contains("C7 FAIL"), "{text}");
        fs::write(place.path("audit"), audit(&["r1", "r4"])).unwrap();
        let found = place.json(&format!("{reconcile} --json"));
        assert_eq!(found["unaudited"], serde_json::json!(["r2"]));
    }

    /// A witness that runs, and is ended with the test.
    struct Running(Child);

    impl Drop for Running {
        fn drop(&mut self) {
            let _gone = self.0.kill();
            let _reaped = self.0.wait();
        }
    }

    /// Starts a witness of the place's log; tells its line of a policy.
    fn witness(place: &Place) -> (Running, String) {
        let output = place.run(&["witness", "init", "--name", "dpo.example", "w"]);
        let key = String::from_utf8(output.stdout).unwrap();
        let signer = keys::read_signer(&place.path("keys/log.key")).unwrap();
        let log = signer.verifier().to_string();
        serve(place, &log, key.trim())
    }

    fn serve(place: &Place, log: &str, key: &str) -> (Running, String) {
        let mut child = place
            .command(&["witness", "serve", "w", "--log", log, "--listen", "127.0.0.1:0"])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stderr.take().unwrap()).read_line(&mut line).unwrap();
        let url = line.split_whitespace().last().unwrap().to_owned();
        assert!(url.starts_with("http://127.0.0.1:"), "{line}");
        (Running(child), format!("witness dpo {key} {url}"))
    }

    fn policy(place: &Place, witness: &str) -> String {
        let text = fs::read_to_string(place.path("keys/policy")).unwrap();
        text.replace("quorum none", &format!("{witness}\nquorum dpo"))
    }

    fn witnessed(place: &Place, policy: &str) -> Options {
        let witnesses = Witnesses::new(policy.parse().unwrap(), Duration::from_secs(2));
        fs::write(place.path("policy"), policy).unwrap();
        Options::default().witnesses(witnesses)
    }

    #[test]
    fn with_a_witness_nobody_is_shown_another_log() {
        let place = Place::filled();
        let (running, line) = witness(&place);
        let policy = policy(&place, &line);
        let log = place.open(witnessed(&place, &policy));
        log.append(place.draft("secret/data/db", "r5")).unwrap();
        drop(log);
        let (text, code) = place.said("evidence verify log --policy policy --require C2,C3,C6,C8");
        assert_eq!(code, 0, "{text}");
        assert!(text.contains("witness dpo signed at 20"), "{text}");
        let seen = checkpoint(&line);
        fs::write(place.path("seen"), &seen).unwrap();
        let (text, code) = place.said("evidence verify log --policy policy --seen seen");
        assert_eq!(code, 0, "{text}");
        assert!(text.contains("grown from the checkpoint at size 5"), "{text}");

        // The log's owner begins another log with the same key, of other receipts.
        fs::rename(place.path("log"), place.path("true-log")).unwrap();
        let log = place.open(Options::default());
        for number in 0..5 {
            log.append(place.draft("secret/data/other", &format!("x{number}"))).unwrap();
        }
        drop(log);
        let (text, code) = place.said("evidence verify log --policy keys/policy --seen seen");
        assert_eq!(code, 77);
        assert!(text.contains("the log was forked or rewritten"), "{text}");
        assert_eq!(place.said("evidence verify log --policy policy").1, 77, "no witness signed it");
        let log = place.open(witnessed(&place, &policy));
        log.append(place.draft("secret/data/other", "x")).unwrap_err();
        drop((log, running));
    }

    /// What the witness at the end of this line signed last.
    fn checkpoint(line: &str) -> String {
        use std::io::{Read as _, Write as _};
        let hash = Digest::of(b"eu.example/log");
        let address = line.rsplit('/').nth(1).unwrap();
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        write!(stream, "GET /{hash}/checkpoint HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.split_once("\r\n\r\n").unwrap().1.to_owned()
    }

    #[test]
    fn a_witness_that_was_restarted_goes_on_and_one_that_is_away_stops_releases() {
        let place = Place::new();
        let (running, line) = witness(&place);
        let policy = policy(&place, &line);
        let log = place.open(witnessed(&place, &policy));
        log.append(place.draft("secret/data/db", "r1")).unwrap();
        drop(running);
        let error = log.append(place.draft("secret/data/db", "r2")).unwrap_err();
        assert!(error.to_string().contains("too few witnesses signed: dpo:"), "{error}");
        let error = log.append(place.draft("secret/data/db", "r3")).unwrap_err();
        assert!(error.to_string().contains("nothing is logged or released"), "{error}");
        drop(log);
        let key = line.split(' ').nth(2).unwrap();
        let signer = keys::read_signer(&place.path("keys/log.key")).unwrap();
        let (running, line) = serve(&place, &signer.verifier().to_string(), key);
        let policy = self::policy(&place, &line);
        let log = place.open(witnessed(&place, &policy));
        let appended = log.append(place.draft("secret/data/db", "r4")).unwrap();
        assert_eq!(appended.index, 2, "r2 was logged and not released, r3 neither");
        drop((log, running));
    }

    #[test]
    fn keys_are_not_written_over_and_a_taken_address_is_told() {
        let place = Place::new();
        let (text, code) = place.said("evidence init --name other keys");
        assert_eq!(code, 64, "{text}");
        assert!(Path::new(&place.path("keys/policy")).exists());
        let (_running, line) = witness(&place);
        let (text, code) = place.said("witness init --name dpo.example w");
        assert_eq!(code, 64, "{text}");
        let address = line.rsplit('/').nth(1).unwrap();
        let key = keys::read_signer(&place.path("keys/log.key")).unwrap().verifier().to_string();
        let other = place.run(&["witness", "init", "--name", "two.example", "w2"]);
        assert!(other.status.success());
        let output = place.run(&["witness", "serve", "w2", "--log", &key, "--listen", address]);
        assert_eq!(output.status.code(), Some(69), "{output:?}");
    }
}
