//! The two programs from outside: verbs, files, exit codes.

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::PermissionsExt as _,
        path::Path,
        process::{Command, Output},
    };

    use cloudtaser_relay::{
        enrol::{State, Store, state::hash_of},
        proto::{enrol::KeySet, invitation::Invitation},
    };
    use cloudtaser_tls::raw::PublicKey;

    const BEACON: &str = env!("CARGO_BIN_EXE_cloudtaser-beacon");
    const BRIDGE: &str = env!("CARGO_BIN_EXE_cloudtaser-bridge");

    fn run(program: &str, folder: &Path, words: &[&str]) -> Output {
        Command::new(program).args(words).current_dir(folder).output().unwrap()
    }

    fn said(output: &Output) -> String {
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    #[test]
    fn keys_are_for_their_owner_and_are_never_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let first = run(BRIDGE, folder.path(), &["init", "."]);
        assert!(first.status.success(), "{}", said(&first));
        assert!(first.stdout.starts_with(b"ed25519:"));
        for name in ["bridge.pem", "tickets.hex"] {
            let mode = fs::metadata(folder.path().join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
        let key = fs::read(folder.path().join("bridge.pem")).unwrap();
        let second = run(BRIDGE, folder.path(), &["init", "."]);
        assert_eq!(second.status.code(), Some(69));
        assert!(said(&second).contains("bridge.pem"), "{}", said(&second));
        assert_eq!(fs::read(folder.path().join("bridge.pem")).unwrap(), key);
    }

    #[test]
    fn a_configuration_with_a_slip_is_named_with_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let config = "listen = \"127.0.0.1:0\"\nkey_file = \"beacon.pem\"\nany_brigde = true\n";
        fs::write(folder.path().join("beacon.toml"), config).unwrap();
        let output = run(BEACON, folder.path(), &["check-config", "beacon.toml"]);
        assert_eq!(output.status.code(), Some(64));
        let said = said(&output);
        assert!(said.contains("beacon.toml") && said.contains("any_brigde"), "{said}");
        let output = run(BRIDGE, folder.path(), &["serve", "--config", "nowhere.toml"]);
        assert_eq!(output.status.code(), Some(64));
    }

    #[test]
    fn the_manifest_of_a_beacon_in_the_cluster_has_a_configuration_that_is_good() {
        let manifest = include_str!("../../../deploy/beacon.yaml");
        let (_, rest) = manifest.split_once("  beacon.toml: |\n").unwrap();
        let (config, _) = rest.split_once("---\n").unwrap();
        let folder = tempfile::tempdir().unwrap();
        let key = run(BEACON, folder.path(), &["keygen", "beacon.pem"]);
        let key = String::from_utf8(key.stdout).unwrap();
        let config = config.replace("    ", "").replace("ed25519:HERE", key.trim());
        let config = config.replace("/key/", "");
        fs::write(folder.path().join("beacon.toml"), &config).unwrap();
        let output = run(BEACON, folder.path(), &["check-config", "beacon.toml"]);
        assert!(output.status.success(), "{}\n{config}", said(&output));
        for (name, port) in [("bridges", 8443), ("clients", 7444), ("http", 9443)] {
            assert!(config.contains(&format!("0.0.0.0:{port}\"")), "{config}");
            let declared = format!("{{ name: {name}, containerPort: {port} }}");
            assert!(manifest.contains(&declared), "{declared}");
        }
        assert_eq!(manifest.matches("HERE").count(), 3, "two values, and the word about them");
    }

    #[test]
    fn a_door_for_others_has_to_be_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let words = ["proxy", "--via", "a", "--key", "b", "--listen", "0.0.0.0:8200"];
        let output = run(BRIDGE, folder.path(), &words);
        assert!(said(&output).contains("--beyond-loopback"), "{}", said(&output));
    }

    #[test]
    fn a_word_that_is_not_known_is_a_wrong_usage() {
        for program in [BEACON, BRIDGE, BROKER] {
            assert_eq!(run(program, Path::new("/"), &["dance"]).status.code(), Some(64));
            assert_eq!(run(program, Path::new("/"), &["--help"]).status.code(), Some(0));
        }
    }

    const BROKER: &str = env!("CARGO_BIN_EXE_cloudtaser-broker");

    /// A bridge's folder with a configuration, in which nobody is let in yet.
    fn realm() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let made = run(BRIDGE, folder.path(), &["init", "."]);
        assert!(made.status.success(), "{}", said(&made));
        let beacon = run(BEACON, folder.path(), &["keygen", "beacon.pem"]);
        let beacon = String::from_utf8(beacon.stdout).unwrap();
        let config = format!(
            "key_file = \"bridge.pem\"\nticket_file = \"tickets.hex\"\nopenbao = \"127.0.0.1:1\"\n\
             enrolment = \"enrolment\"\n[[beacon]]\naddress = \"127.0.0.1:1\"\nkey = \"{}\"\n",
            beacon.trim()
        );
        fs::write(folder.path().join("bridge.toml"), config).unwrap();
        folder
    }

    fn verb(folder: &Path, words: &[&str]) -> Output {
        run(BRIDGE, folder, &[&words[..1], &["--config", "bridge.toml"], &words[1..]].concat())
    }

    #[test]
    fn an_invitation_is_shown_once_and_kept_nowhere() {
        let folder = realm();
        let invited = verb(folder.path(), &["invite", "--name", "prod"]);
        assert!(invited.status.success(), "{}", said(&invited));
        let text = String::from_utf8(invited.stdout).unwrap();
        assert!(text.starts_with("ctinv1.") && text.ends_with('\n') && text.lines().count() == 1);
        let digest = cloudtaser_tls::Digest::new().unwrap();
        let read = Invitation::parse(digest, &text).unwrap();
        let secret = read.secret.expose();
        let hex = data_encoding::HEXLOWER.encode(secret);
        for entry in fs::read_dir(folder.path().join("enrolment")).unwrap() {
            let path = entry.unwrap().path();
            let bytes = fs::read(&path).unwrap();
            for needle in [&secret[..], hex.as_bytes(), text.trim().as_bytes()] {
                let found = bytes.windows(needle.len()).any(|window| window == needle);
                assert!(!found, "{} has the secret", path.display());
            }
            let mode = fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{}", path.display());
        }
        let status = verb(folder.path(), &["status"]);
        let status = String::from_utf8(status.stdout).unwrap();
        assert!(status.contains("prod  invited"), "{status}");
        let again = verb(folder.path(), &["invite", "--name", "prod"]);
        assert!(!again.status.success() && said(&again).contains("prod"), "{}", said(&again));
    }

    #[test]
    fn whom_nobody_knows_can_be_neither_let_in_nor_put_out() {
        let folder = realm();
        let key = run(BRIDGE, folder.path(), &["keygen", "other.pem"]);
        let key = String::from_utf8(key.stdout).unwrap();
        for word in ["approve", "revoke"] {
            let output = verb(folder.path(), &[word, key.trim()]);
            assert!(!output.status.success());
            assert!(said(&output).contains(key.trim()), "in full: {}", said(&output));
            // A part of a key is no key.
            let output = verb(folder.path(), &[word, key.trim().get(..30).unwrap()]);
            assert_eq!(output.status.code(), Some(64), "{}", said(&output));
        }
        assert!(!folder.path().join("enrolment/audit.jsonl").exists(), "nothing was done");
    }

    const RSA: &str = r#"{"kty":"RSA","kid":"old","e":"AQAB","n":"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ"}"#;
    const EC: &str = r#"{"kty":"EC","crv":"P-256","kid":"new","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#;

    /// A folder whose bridge releases, to tokens of these issuers.
    fn releasing(issuers: &[&str]) -> tempfile::TempDir {
        let folder = realm();
        let path = folder.path().join("bridge.toml");
        let mut config = fs::read_to_string(&path).unwrap();
        config.push_str(
            "[release]\nopenbao = \"http://127.0.0.1:1\"\n\
             policy_file = \"policy.toml\"\nstate_dir = \"state\"\n",
        );
        for issuer in issuers {
            config.push_str(&format!(
                "[[release.issuer]]\nname = \"{issuer}\"\nclient = \"prod\"\n\
                 issuer = \"https://{issuer}\"\naudience = \"a\"\n"
            ));
        }
        fs::write(path, config).unwrap();
        fs::create_dir(folder.path().join("state")).unwrap();
        folder
    }

    /// Has a cluster of the name `prod` join and show these keys; its key, and their fingerprint.
    fn shows(folder: &Path, issuer: &str, keys: &[&str]) -> (String, String) {
        let digest = cloudtaser_tls::Digest::new().unwrap();
        let store = Store::open(&folder.join("enrolment")).unwrap();
        let key = PublicKey::from_bytes([7; 32]);
        let discovery = format!("{{\"issuer\":\"{issuer}\"}}");
        let set = format!("{{\"keys\":[{}]}}", keys.join(","));
        let shown = KeySet::read(discovery.as_bytes(), set.as_bytes()).unwrap();
        let print = shown.fingerprint(digest).to_string();
        if store.read().unwrap().cluster(&key).is_none() {
            let text = verb(folder, &["invite", "--name", "prod"]).stdout;
            let text = String::from_utf8(text).unwrap();
            let invitation = Invitation::parse(digest, &text).unwrap();
            let hash = hash_of(digest, &invitation.secret);
            let joined = store.act("a test", 1, |state| state.join(key, invitation.id, &hash, 1));
            joined.unwrap().unwrap();
        }
        let shows = |state: &mut State| match state.show(&key, shown, digest) {
            Ok((name, act)) => (Ok(name), act),
            Err(refusal) => (Err(refusal), None),
        };
        store.act("a test", 1, shows).unwrap().unwrap();
        (key.to_string(), print)
    }

    fn acts(folder: &Path) -> Vec<String> {
        let text = fs::read_to_string(folder.join("enrolment/audit.jsonl")).unwrap();
        let act = |line: &str| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            line.pointer("/act").unwrap().as_str().unwrap().to_owned()
        };
        text.lines().map(act).collect()
    }

    #[test]
    fn keys_are_believed_by_the_fingerprint_that_a_person_says_and_by_no_other() {
        let folder = releasing(&["a", "b"]);
        let at = folder.path();
        let check = run(BRIDGE, at, &["check-config", "bridge.toml"]);
        assert!(check.status.success(), "no keys are needed to begin: {}", said(&check));
        let (key, print) = shows(at, "https://a", &[RSA]);
        let file = at.join("state/a.jwks.json");
        let status = || String::from_utf8(verb(at, &["status"]).stdout).unwrap();
        let approve = format!("{key} --issuer-keys {print}");
        assert!(status().contains(&approve), "{}", status());

        // Of another set, whether it was ever shown or not.
        let (_, other) = shows(at, "https://a", &[EC]);
        shows(at, "https://a", &[RSA]);
        let wrong = verb(at, &["approve", "--issuer-keys", &other, &key]);
        assert!(said(&wrong).contains("these are not they"), "{}", said(&wrong));
        assert!(said(&wrong).contains(&print), "{}", said(&wrong));
        let part = verb(at, &["approve", "--issuer-keys", print.get(..20).unwrap(), &key]);
        assert_eq!(part.status.code(), Some(64), "{}", said(&part));
        assert!(!file.exists() && acts(at).iter().all(|act| act != "approved"));

        let approved = verb(at, &["approve", "--issuer-keys", &print, &key]);
        assert!(approved.status.success(), "{}", said(&approved));
        let text = String::from_utf8(approved.stdout).unwrap();
        assert!(text.starts_with(&format!("{key} is let in\n")), "{text}");
        assert!(text.contains("a: tokens are believed by\n  old (RS256)\n"), "{text}");
        assert!(text.contains("--issuer a --pem"), "{text}");
        assert!(fs::read_to_string(&file).unwrap().contains("\"old\""));
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!at.join("state/b.jwks.json").exists(), "another issuer's stay as they are");
        assert!(!status().contains("--issuer-keys"), "{}", status());
        let json = String::from_utf8(verb(at, &["status", "--json"]).stdout).unwrap();
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        let keys = json.pointer("/clusters/0/issuer_keys").unwrap();
        assert_eq!(keys.pointer("/believed").unwrap(), true);
        assert_eq!(keys.pointer("/fingerprint").unwrap(), &print);

        // A rotation is said by the same verb, of a cluster that is let in.
        let (_, both) = shows(at, "https://a", &[RSA, EC]);
        assert!(status().contains(&both), "{}", status());
        let rotated = verb(at, &["approve", "--issuer-keys", &both, &key]);
        assert!(rotated.status.success(), "{}", said(&rotated));
        let (_, new) = shows(at, "https://a", &[EC]);
        let rotated = verb(at, &["approve", "--issuer-keys", &new, &key]);
        let text = String::from_utf8(rotated.stdout).unwrap();
        assert!(text.contains("and no longer by old (RS256)"), "{text}");
        let wanted = [
            "invited",
            "joined",
            "issuer keys shown",
            "issuer keys shown",
            "issuer keys shown",
            "issuer keys believed",
            "approved",
            "issuer keys shown",
            "issuer keys believed",
            "issuer keys shown",
            "issuer keys believed",
        ];
        assert_eq!(acts(at), wanted);
    }

    #[test]
    fn without_the_fingerprint_a_cluster_is_let_in_and_its_keys_wait() {
        let folder = releasing(&["a"]);
        let (key, print) = shows(folder.path(), "https://a", &[RSA]);
        let approved = verb(folder.path(), &["approve", &key]);
        let text = String::from_utf8(approved.stdout).unwrap();
        assert!(text.contains(&format!("{key} --issuer-keys {print}")), "{text}");
        assert!(!folder.path().join("state/a.jwks.json").exists());
        assert_eq!(acts(folder.path()).last().unwrap(), "approved");
    }

    #[test]
    fn keys_of_an_issuer_that_the_bridge_is_not_told_of_change_nothing_and_are_told_where_to_go() {
        let folder = releasing(&["a"]);
        let (key, print) = shows(folder.path(), "https://c", &[RSA]);
        let output = verb(folder.path(), &["approve", "--issuer-keys", &print, &key]);
        assert!(!output.status.success());
        let said = said(&output);
        assert!(said.contains("nothing was changed"), "{said}");
        assert!(said.contains("issuer = \"https://c\"") && said.contains("client = \"prod\""));
        assert_eq!(acts(folder.path()), ["invited", "joined", "issuer keys shown"]);
    }

    #[test]
    fn with_an_enrolment_no_list_lets_anybody_in() {
        let folder = realm();
        let key = run(BRIDGE, folder.path(), &["keygen", "other.pem"]);
        let key = String::from_utf8(key.stdout).unwrap();
        let path = folder.path().join("bridge.toml");
        let config = fs::read_to_string(&path).unwrap();
        let config = format!("{config}[[client]]\nname = \"a\"\nkey = \"{}\"\n", key.trim());
        fs::write(&path, config).unwrap();
        let output = run(BRIDGE, folder.path(), &["check-config", "bridge.toml"]);
        assert_eq!(output.status.code(), Some(64));
        assert!(said(&output).contains("invite"), "{}", said(&output));
    }

    #[test]
    fn an_invitation_with_a_slip_is_told_before_anybody_is_asked() {
        let folder = realm();
        let invited = verb(folder.path(), &["invite", "--name", "prod"]);
        let mut text = invited.stdout;
        text[20] = if text[20] == b'A' { b'B' } else { b'A' };
        fs::write(folder.path().join("invitation"), text).unwrap();
        let words = ["join", "--state", "cluster", "--invitation", "invitation"];
        let output = run(BROKER, folder.path(), &words);
        assert!(!output.status.success());
        assert!(said(&output).contains("copy it again"), "{}", said(&output));
        assert!(!folder.path().join("cluster").exists());
    }

    #[test]
    fn verbs_that_are_killed_at_any_moment_lose_and_double_no_line() {
        let folder = realm();
        let mut killed = 0;
        for number in 0..60_u64 {
            let name = format!("n{number}");
            let mut child = Command::new(BRIDGE)
                .args(["invite", "--config", "bridge.toml", "--name", &name])
                .current_dir(folder.path())
                .stdout(std::process::Stdio::null())
                .spawn()
                .unwrap();
            std::thread::sleep(std::time::Duration::from_micros(number % 20 * 700));
            // It may have ended by itself.
            drop(child.kill());
            killed += usize::from(!child.wait().unwrap().success());
        }
        println!("{killed} of 60 were killed");
        // One that is let to its end makes good what was left undone.
        let last = verb(folder.path(), &["invite", "--name", "last"]);
        assert!(last.status.success(), "{}", said(&last));
        let read =
            |file: &str| fs::read_to_string(folder.path().join("enrolment").join(file)).unwrap();
        let state: serde_json::Value = serde_json::from_str(&read("enrolment.json")).unwrap();
        let number =
            |value: &serde_json::Value| value.pointer("/revision").unwrap().as_u64().unwrap();
        let lines: Vec<u64> = read("audit.jsonl")
            .lines()
            .map(|line| number(&serde_json::from_str(line).unwrap()))
            .collect();
        assert_eq!(lines, (1..=number(&state)).collect::<Vec<_>>());
        let invited = state.pointer("/invitations").unwrap().as_array().unwrap().len();
        assert_eq!(invited, lines.len());
    }
}
