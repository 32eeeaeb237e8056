//! `cloudtaser report`: what is on the page comes from the evidence, and goes where it goes.

#[cfg(test)]
mod report {
    use std::{
        fs,
        path::PathBuf,
        process::{Command, Output},
    };

    use cloudtaser_core::level::Verdict;
    use cloudtaser_evidence::{
        Digest, Draft, Log,
        checkpoint::SignedCheckpoint,
        keys,
        log::Options,
        note::{KeyKind, Signer},
        receipt::{Assurance, Decision, Name, Rows, SecretEntry, Workload},
    };
    use serde_json::Value;
    use tempfile::TempDir;

    /// A cluster's name is what somebody wrote.
    const CLUSTER: &str = "<script>alert(1)</script>/a~b";

    struct Place {
        folder: TempDir,
    }

    fn name(text: &str) -> Name {
        Name::try_from(text).unwrap()
    }

    fn draft(request: u64) -> Draft {
        Draft {
            cluster: name(CLUSTER),
            workload: Workload {
                namespace: name("shop"),
                service_account: name("api"),
                pod: name("0a1b2c3d-0000-4000-8000-000000000001"),
            },
            role: name("shop"),
            secrets: vec![SecretEntry {
                name: Digest::of(&(request % 3).to_be_bytes()),
                version: Some(1),
                request: Some(name(&format!("r{request}"))),
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
            session: Digest::of(b"session"),
            evidence: None,
            decision: Decision::Released,
            bridge: Some(Digest::of(b"bridge")),
            key_exchange: Some(name("X25519MLKEM768")),
            sealing: None,
            orders: None,
        }
    }

    impl Place {
        /// A log of releases, a witness that signed it, and the audit log that goes with it.
        fn new() -> Self {
            let place = Self { folder: tempfile::tempdir().unwrap() };
            let key = place.path("log.key");
            let signer = keys::make_signer(&key, "eu.example/log", KeyKind::Log).unwrap();
            let log_key = signer.verifier();
            let log = Log::open(&place.path("log"), signer, Options::default()).unwrap();
            (0..7).for_each(|request| drop(log.append(draft(request)).unwrap()));
            let refused = Decision::Refused(name("level-too-low"));
            let draft = Draft { decision: refused, secrets: Vec::new(), ..draft(7) };
            drop(log.append(draft).unwrap());
            drop(log);
            let witness = Signer::from_seed("dpo.example", KeyKind::Witness, &[2; 32]).unwrap();
            let path = place.path("log/checkpoint");
            let text = fs::read_to_string(&path).unwrap();
            fs::write(place.path("unwitnessed"), &text).unwrap();
            let mut signed = SignedCheckpoint::parse(&text).unwrap();
            let text = signed.note().text().to_owned();
            signed.note_mut().add(witness.sign(&text, 1_800_000_000));
            fs::write(&path, signed.to_string()).unwrap();
            let policy =
                format!("log {log_key}\nwitness dpo {}\nquorum none\n", witness.verifier());
            fs::write(place.path("policy"), policy).unwrap();
            let audit: String = (0..7)
                .map(|request| {
                    format!(
                        "{{\"type\":\"response\",\"request\":{{\"id\":\"r{request}\",\"operation\":\"read\",\
                         \"path\":\"secret/data/db\",\"mount_type\":\"kv\"}},\"response\":{{\"data\":{{}}}}}}\n"
                    )
                })
                .collect();
            fs::write(place.path("audit"), audit).unwrap();
            place
        }

        fn path(&self, file: &str) -> PathBuf {
            self.folder.path().join(file)
        }

        fn run(&self, line: &str) -> Output {
            Command::new(env!("CARGO_BIN_EXE_cloudtaser"))
                .args(line.split(' '))
                .current_dir(self.folder.path())
                .output()
                .unwrap()
        }

        fn json(&self, line: &str) -> Value {
            let output = self.run(line);
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            serde_json::from_slice(&output.stdout).unwrap()
        }

        fn shown(&self, line: &str, article: &str) -> String {
            let report = self.json(line);
            let lines = report["lines"].as_array().unwrap().clone();
            let line = lines.iter().find(|line| line["article"] == article).unwrap();
            line["shown"].as_str().unwrap().to_owned()
        }
    }

    #[test]
    fn every_figure_is_in_the_evidence_at_the_place_that_it_names() {
        let place = Place::new();
        let evidence = place.json("evidence verify log --policy policy --bao-audit audit --json");
        let line = "report log --policy policy --bao-audit audit --json --out report.html";
        let report = place.json(line);
        let page = fs::read_to_string(place.path("report.html")).unwrap();
        let facts = report["facts"].as_array().unwrap();
        assert!(facts.len() > 35, "{}", facts.len());
        for fact in facts {
            let pointer = fact["pointer"].as_str().unwrap();
            let there = evidence.pointer(pointer).unwrap_or_else(|| panic!("no {pointer}"));
            let there = there.as_str().map_or_else(|| there.to_string(), str::to_owned);
            assert_eq!(fact["value"], there, "{pointer}");
            assert!(page.contains(&format!("<td>{}</td>", fact["id"].as_str().unwrap())));
        }
        let value = |pointer: &str| {
            let fact = facts.iter().find(|fact| fact["pointer"] == pointer).unwrap();
            fact["value"].as_str().unwrap().to_owned()
        };
        assert_eq!(value("/tally/released"), "7");
        assert_eq!(value("/tally/secrets"), "3");
        assert_eq!(value("/tally/rows/3/2"), "7");
        assert_eq!(value("/audit/matched"), "7");
    }

    /// The numbers of a text, outside of tags.
    fn numbers(page: &str) -> Vec<String> {
        let mut text = String::new();
        let mut in_tag = false;
        for letter in page.chars() {
            match letter {
                '<' => in_tag = true,
                '>' => in_tag = false,
                _ if !in_tag => text.push(letter),
                _ => text.push(' '),
            }
        }
        let words = text.split(|c: char| c.is_whitespace() || c == ',');
        words
            .filter(|word| !word.is_empty() && word.bytes().all(|b| b.is_ascii_digit()))
            .map(str::to_owned)
            .collect()
    }

    #[test]
    fn no_bare_number_on_the_page_is_from_elsewhere() {
        let place = Place::new();
        let report =
            place.json("report log --policy policy --bao-audit audit --json --out report.html");
        let page = fs::read_to_string(place.path("report.html")).unwrap();
        let body = page.split_once("<main>").unwrap().1.replace("<sup>", " <sup>");
        let facts = report["facts"].as_array().unwrap();
        let mut known: Vec<_> = facts.iter().map(|fact| fact["value"].as_str().unwrap()).collect();
        // Of rules and of sentences: "RTS 2024/1774" is no bare number, but these are.
        known.extend(["6", "7", "10", "25", "28", "32", "35", "48", "1", "3"]);
        // Counts of a claim's sentence: how many policies and builds there are.
        let sentence = ["2 builds", "1 policies"];
        for number in numbers(&body) {
            let is_known = known.contains(&number.as_str())
                || sentence.iter().any(|words| words.starts_with(&number));
            assert!(is_known, "{number} is on the page and no figure of the evidence");
        }
    }

    #[test]
    fn what_is_taken_from_the_evidence_turns_its_line_to_not_shown() {
        let place = Place::new();
        let with_audit = "report log --policy policy --framework gdpr --bao-audit audit --json";
        let without_audit = "report log --policy policy --framework gdpr --json";
        let accountability = "Art. 5(2)";
        assert_eq!(place.shown(with_audit, accountability), "supported");
        assert_eq!(place.shown(without_audit, accountability), "partly-supported");
        fs::copy(place.path("unwitnessed"), place.path("log/checkpoint")).unwrap();
        assert_eq!(place.shown(without_audit, accountability), "not-shown");
        let mut audit = fs::read_to_string(place.path("audit")).unwrap();
        audit.push_str(&audit.lines().next().unwrap().replace("r0", "stolen"));
        fs::write(place.path("audit"), audit).unwrap();
        assert_eq!(place.shown(with_audit, accountability), "contradicted");
        let report = place.json(with_audit);
        assert_eq!(report["lines"][0]["shown"], "contradicted", "worst first");
    }

    #[test]
    fn the_open_point_is_said_for_every_framework() {
        let place = Place::new();
        for framework in ["dora", "nis2", "gdpr", "schrems2", "all"] {
            let line =
                format!("report log --policy policy --framework {framework} --out report.html");
            assert_eq!(place.run(&line).status.code(), Some(0));
            let page = fs::read_to_string(place.path("report.html")).unwrap();
            assert!(page.contains("can read the memory of every pod"), "{framework}");
            assert!(page.contains("<h2>Not covered</h2>"), "{framework}");
            for never in ["compliant", "cannot read", "<script", "http:", "https:", "src=", "url("]
            {
                assert!(!page.contains(never), "{framework}: {never}");
            }
        }
        let line = "report log --policy policy --framework schrems2 --json";
        assert_eq!(place.shown(line, "EDPB use case 6"), "not-shown");
    }

    #[test]
    fn what_is_refused_gives_no_report() {
        let place = Place::new();
        let tile = place.path("log/tile/entries/000.p/8");
        let mut bytes = fs::read(&tile).unwrap();
        bytes[40] ^= 1;
        fs::write(&tile, bytes).unwrap();
        let output = place.run("report log --policy policy --out report.html");
        assert_eq!(output.status.code(), Some(77));
        assert!(!place.path("report.html").exists());
        assert_eq!(place.run("report log --policy policy").status.code(), Some(64));
    }
}
