//! `cloudtaser report`: what is on the page comes from the evidence, and goes where it goes.

#[cfg(test)]
mod html;

#[cfg(test)]
mod report {
    use std::{
        collections::BTreeMap,
        fs,
        path::PathBuf,
        process::{Command, Output},
        sync::{
            Arc,
            atomic::{AtomicU64, Ordering},
        },
    };

    use cloudtaser_core::level::Verdict;
    use cloudtaser_evidence::{
        Digest, Draft, Log,
        checkpoint::SignedCheckpoint,
        date, keys,
        log::{Clock, Options},
        note::{KeyKind, Signer},
        receipt::{
            Act, Assurance, Decision, Name, Rows, Sealing, SecretEntry, SignedBefore, Workload,
        },
    };
    use serde_json::Value;
    use tempfile::TempDir;

    use super::html;

    /// A cluster's name is what somebody wrote.
    const CLUSTER: &str = "<script>alert(1)</script>/a~b";

    /// What a log is made of.
    struct Story {
        cluster: &'static str,
        releases: u64,
        refusals: u64,
        /// The first receipt's time, in ms since 1970; one follows each six hours.
        from_ms: u64,
        /// What is different about a receipt.
        but: fn(u64, &mut Draft),
    }

    /// Seven releases and a refusal on two days.
    const SEVEN: Story = Story {
        cluster: CLUSTER,
        releases: 7,
        refusals: 1,
        from_ms: 1_795_000_000_000,
        but: |_, _| {},
    };

    struct Place {
        folder: TempDir,
    }

    fn name(text: &str) -> Name {
        Name::try_from(text).unwrap()
    }

    fn draft(cluster: &str, request: u64) -> Draft {
        Draft {
            cluster: name(cluster),
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
            sealing: Some(Sealing {
                suite: name("X-Wing/HKDF-SHA256/AES-256-GCM"),
                recipient: Digest::of(b"recipient"),
            }),
            orders: None,
        }
    }

    impl Place {
        fn new() -> Self {
            Self::of(&SEVEN)
        }

        /// A log of releases, a witness that signed it, and the audit log that goes with it.
        fn of(story: &Story) -> Self {
            let place = Self { folder: tempfile::tempdir().unwrap() };
            let key = place.path("log.key");
            let signer = keys::make_signer(&key, "eu.example/log", KeyKind::Log).unwrap();
            let log_key = signer.verifier();
            let now = Arc::new(AtomicU64::new(story.from_ms));
            let clock = Clock::new({
                let now = Arc::clone(&now);
                move || now.load(Ordering::SeqCst)
            });
            // Opened once: a child of another test may hold the lock for a moment longer.
            let options = Options::default().clock(clock);
            let log = Log::open(&place.path("log"), signer, options).unwrap();
            for number in 0..story.releases + story.refusals {
                let mut draft = draft(story.cluster, number);
                if number >= story.releases {
                    draft.decision = Decision::Refused(name("level-too-low"));
                    draft.secrets = Vec::new();
                }
                (story.but)(number, &mut draft);
                drop(log.append(draft).unwrap());
                now.fetch_add(6 * 3_600_000, Ordering::SeqCst);
            }
            drop(log);
            let witness = Signer::from_seed("dpo.example", KeyKind::Witness, &[2; 32]).unwrap();
            let path = place.path("log/checkpoint");
            let text = fs::read_to_string(&path).unwrap();
            fs::write(place.path("unwitnessed"), &text).unwrap();
            let mut signed = SignedCheckpoint::parse(&text).unwrap();
            let text = signed.note().text().to_owned();
            signed.note_mut().add(witness.sign(&text, story.from_ms / 1000 + 40 * 86_400));
            fs::write(&path, signed.to_string()).unwrap();
            let policy =
                format!("log {log_key}\nwitness dpo {}\nquorum none\n", witness.verifier());
            fs::write(place.path("policy"), policy).unwrap();
            let audit: String = (0..story.releases)
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
            let row = format!("<th scope=\"row\">{}</th>", fact["id"].as_str().unwrap());
            assert!(page.contains(&row), "{row}");
        }
        let ids: Vec<_> = facts.iter().map(|fact| fact["id"].as_str().unwrap()).collect();
        let unique: std::collections::BTreeSet<_> = ids.iter().collect();
        assert_eq!(unique.len(), ids.len());
        let value = |pointer: &str| {
            let fact = facts.iter().find(|fact| fact["pointer"] == pointer).unwrap();
            fact["value"].as_str().unwrap().to_owned()
        };
        assert_eq!(value("/tally/released"), "7");
        assert_eq!(value("/tally/secrets"), "3");
        assert_eq!(value("/tally/rows/3/2"), "7");
        assert_eq!(value("/audit/matched"), "7");
    }

    /// Takes what is between two marks, each time, out of a text.
    fn taken<'t>(text: &'t str, begin: &str, end: &str) -> (Vec<&'t str>, String) {
        let (mut found, mut left, mut rest) = (Vec::new(), String::new(), text);
        while let Some((before, after)) = rest.split_once(begin) {
            let (inside, after) = after.split_once(end).unwrap();
            found.push(inside);
            left.push_str(before);
            rest = after;
        }
        (found, left + rest)
    }

    /// A page without what is marked as coming from the evidence; all of that is looked up.
    fn unmarked(place: &Place) -> String {
        let report =
            place.json("report log --policy policy --bao-audit audit --json --out report.html");
        let page = fs::read_to_string(place.path("report.html")).unwrap();
        let facts: BTreeMap<_, _> = report["facts"]
            .as_array()
            .unwrap()
            .iter()
            .map(|fact| (fact["id"].as_str().unwrap(), fact))
            .collect();
        let body = page.split_once("<main").unwrap().1;
        let (body, _annex) = body.split_once("<h2 id=\"annex\">").unwrap();
        let (figures, rest) = taken(body, "<span class=\"e\"><span>", "</a></sup></span>");
        assert!(figures.len() > 40, "{}", figures.len());
        for figure in figures {
            let (shown, id) = figure.split_once("</span><sup><a href=\"#").unwrap();
            let fact = facts[id.split_once('"').unwrap().0];
            assert_eq!(shown, escaped(fact["shown"].as_str().unwrap()), "{fact}");
            let pointer = fact["pointer"].as_str().unwrap();
            let value = fact["value"].as_str().unwrap();
            let milliseconds = match pointer {
                _ if pointer.ends_with("_ms") || pointer.contains("/time_ms/") => value.parse(),
                _ if pointer.ends_with("unix_seconds") => value.parse().map(|s: u64| s * 1000),
                _ => continue,
            };
            assert_eq!(shown, date::to_text(milliseconds.unwrap()), "{fact}");
        }
        // Names of things: each is a part of a figure's place.
        let (names, rest) = taken(&rest, " class=\"k\">", "</");
        let known = |name: &str| {
            let is_in = |fact: &Value| escaped(fact["what"].as_str().unwrap()).contains(name);
            facts.values().any(|fact| is_in(fact))
        };
        assert!(names.len() >= 5 && names.iter().all(|name| known(name)), "{names:?}");
        // Bars: each tells its figure and its mark.
        let (bars, rest) = taken(&rest, "<rect class=\"bar\"", "</rect>");
        for bar in bars {
            let title = bar.split_once("<title>").unwrap().1.split_once("</title>").unwrap().0;
            let (day, rest) = title.split_once(": ").unwrap();
            let (count, id) = rest.split_once(" (").unwrap();
            let fact = facts[id.trim_end_matches(')')];
            assert_eq!(fact["value"], count);
            assert!(fact["what"].as_str().unwrap().ends_with(day));
        }
        let (_shares, rest) = taken(&rest, "<rect class=\"p-", "/>");
        // Counts of lines: as many as there are lines so.
        let lines = report["lines"].as_array().unwrap();
        let count = |shown: &str| lines.iter().filter(|line| line["shown"] == shown).count();
        let words = ["contradicted", "not-shown", "partly-supported", "supported"];
        let (counts, rest) = taken(&rest, "<span class=\"c\">", "</span>");
        assert_eq!(counts, words.map(|word| count(word).to_string()));
        rest
    }

    fn escaped(text: &str) -> String {
        let pairs =
            [("&", "&#38;"), ("<", "&#60;"), (">", "&#62;"), ("\"", "&#34;"), ("'", "&#39;")];
        pairs.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
    }

    #[test]
    fn nothing_on_the_page_changes_with_the_evidence_but_what_is_marked_as_its() {
        let seven = unmarked(&Place::new());
        let other = Story {
            cluster: "another",
            releases: 23,
            refusals: 4,
            from_ms: 1_770_000_000_000,
            but: |number, draft| {
                draft.secrets.iter_mut().for_each(|secret| {
                    secret.name = Digest::of(&(number % 3 + 9).to_be_bytes());
                    secret.version = Some(number);
                });
            },
        };
        let other = unmarked(&Place::of(&other));
        // As many bars as days leave as many empty lines.
        let lines = |page: &str| {
            page.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect::<Vec<_>>()
        };
        for (one, two) in lines(&seven).iter().zip(&lines(&other)) {
            assert_eq!(one, two);
        }
        assert_eq!(lines(&seven).len(), lines(&other).len());
    }

    #[test]
    fn the_page_is_sound_and_can_be_read() {
        let place = Place::new();
        place.json("report log --policy policy --bao-audit audit --json --out report.html");
        let page = fs::read_to_string(place.path("report.html")).unwrap();
        html::is_sound(&page);
        html::can_be_read(&page);
        html::in_a_browser(&page, "report");
        assert!(page.contains("&#60;script&#62;alert(1)&#60;/script&#62;/a~b"));
        assert!(page.contains("Sign or refuse"));
    }

    /// How each line stands, by framework and article.
    fn standings(report: &Value) -> BTreeMap<String, (String, Vec<(String, String)>)> {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let lines = report["lines"].as_array().unwrap();
        lines
            .iter()
            .map(|line| {
                let claims = line["claims"].as_array().unwrap();
                let claims = claims.iter().map(|pair| (text(&pair[0]), text(&pair[1]))).collect();
                let name = format!("{} {}", text(&line["framework"]), text(&line["article"]));
                (name, (text(&line["shown"]), claims))
            })
            .collect()
    }

    #[test]
    fn one_piece_of_evidence_taken_away_is_missing_in_every_line_that_stood_on_it() {
        const WITH: &str = "report log --policy policy --bao-audit audit --json";
        const WITHOUT_AUDIT: &str = "report log --policy policy --json";
        let story = |but: fn(u64, &mut Draft)| Story { but, ..SEVEN };
        // Of one release of seven, but for the two that are of the whole log.
        let pieces: [(&str, Story, &str); 6] = [
            (
                "C2",
                story(|number, draft| {
                    if number == 3 {
                        draft.protection = Rows::new([Verdict::Partial; 6]);
                    }
                }),
                WITH,
            ),
            (
                "C3",
                story(|number, draft| draft.bridge = draft.bridge.filter(|_| number != 3)),
                WITH,
            ),
            (
                "C5",
                story(|number, draft| {
                    if number == 3 {
                        draft.sealing = None;
                    }
                }),
                WITH,
            ),
            ("C6", SEVEN, WITH),
            ("C7", SEVEN, WITHOUT_AUDIT),
            (
                "C8",
                story(|number, draft| {
                    if number == 3 {
                        draft.key_exchange = Some(name("X25519"));
                    }
                }),
                WITH,
            ),
        ];
        let whole = standings(&Place::new().json(WITH));
        let passing = |claims: &[(String, String)]| {
            claims.iter().filter(|(_, standing)| standing == "pass").count()
        };
        let mut emptied = 0;
        for (claim, story, line) in pieces {
            let place = Place::of(&story);
            if claim == "C6" {
                fs::copy(place.path("unwitnessed"), place.path("log/checkpoint")).unwrap();
            }
            let less = standings(&place.json(line));
            for (rule, (before, claims)) in &whole {
                let (after, now) = &less[rule];
                if !claims.iter().any(|(id, standing)| id == claim && standing == "pass") {
                    assert_eq!(after, before, "{rule} does not stand on {claim}");
                    continue;
                }
                assert_eq!(passing(now), passing(claims) - 1, "{rule} without {claim}");
                let expected = if passing(now) == 0 { "not-shown" } else { "partly-supported" };
                assert_eq!(after, expected, "{rule} without {claim}");
                emptied += usize::from(after == "not-shown");
            }
        }
        assert!(emptied >= 4, "{emptied} lines stand on one claim alone");
    }

    #[test]
    fn a_policy_that_was_set_aside_stands_before_every_rule() {
        let quiet = Place::new();
        let line = "report log --policy policy --framework all --out all.html";
        assert!(quiet.run(line).status.success());
        let page = fs::read_to_string(quiet.path("all.html")).unwrap();
        assert!(!page.contains("To be heard first"));
        let broken = |number, draft: &mut Draft| {
            let order = Digest::of(b"an order");
            let orders = vec![SignedBefore { act: Act::BreakGlass, order }];
            draft.orders = (number == 3).then_some(orders);
        };
        let place = Place::of(&Story { but: broken, ..SEVEN });
        assert!(place.run(line).status.success());
        let page = fs::read_to_string(place.path("all.html")).unwrap();
        let heard = page.find("To be heard first").expect("it is not on the page");
        assert!(heard < page.find("Rule by rule, worst first").unwrap());
        assert!(page.contains("with the policy set aside"), "{page}");
        let json = place.json("evidence verify log --policy policy --json");
        assert_eq!(
            (&json["tally"]["break_glass"], &json["tally"]["loud_total"]),
            (&1.into(), &1.into())
        );
        let shown = place.run("evidence show log --last 1");
        let shown = String::from_utf8(shown.stdout).unwrap();
        let first = shown.lines().next().unwrap_or_default();
        assert!(first.contains("to be heard first: 1"), "{shown}");
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
            assert!(page.contains(">Not covered</h2>"), "{framework}");
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
