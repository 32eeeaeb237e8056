//! What a launch that cannot be made says, and with which code it ends.
//!
//! Each test holds the parts of the message that a reader acts on. Whether something was tried
//! again is counted in requests, not in time. Everything that was written is held against the token
//! and the secret.

#[cfg(test)]
mod common;

#[cfg(test)]
mod tests {
    use std::{
        fs,
        net::TcpListener,
        path::Path,
        process::{Child, Command, Stdio},
        thread,
        time::{Duration, Instant},
    };

    use cloudtaser_e2e::{Bao, Launch, Role, Scratch, canary, descendants, on_path, skip};
    use nix::sys::signal::Signal;
    use serde_json::json;

    use super::common::{
        APP, Double, SECRET, as_pid_1, at,
        double::{answer, drip, say, secret_body},
        ended, eventually, is_alive, kill, refused, shows_nothing, towards,
    };

    const DENIED: &str = r#"{"errors":["1 error occurred:\n\t* permission denied\n\n"]}"#;

    /// A port on which nobody listens.
    fn closed_port() -> u16 {
        TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
    }

    fn real(bao: &Bao, reference: &str) -> Launch {
        Launch::wrapped(bao).env("S", reference)
    }

    // What OpenBao refuses is not asked twice.

    #[test]
    fn a_refused_path_fails_at_once_and_says_what_the_policy_lacks() {
        let double = Double::always("403 Forbidden", DENIED);
        let output = at(&double).run(APP);
        let parts = [
            "S: cannot read (GET kv1/data/x): 403 refused",
            "(OpenBao says: 1 error occurred: * permission denied)",
            "the token's policies lack read on kv1/data/x",
        ];
        refused(&output, 76, &parts);
        assert!(!output.stderr.contains("tried"), "{}", output.stderr);
        assert_eq!(double.reads(), 1);
    }

    #[test]
    fn a_path_that_a_real_policy_refuses_is_named() {
        let bao = Bao::shared();
        bao.policy("nothing", r#"path "kv1/open" { capabilities = ["read"] }"#);
        let file = bao.scratch().credential("token-nothing", &bao.token("nothing"));
        let output = real(bao, "vault:secret/data/closed#a").env("VAULT_TOKEN_FILE", file).run(APP);
        refused(&output, 76, &["S: cannot read (GET secret/data/closed): 403 refused"]);
    }

    #[test]
    fn a_missing_path_names_every_path_that_was_tried() {
        let double = Double::start(|_, request, stream| match request.path.as_str() {
            path if path.contains("/internal/ui/mounts/") => {
                answer(stream, "403 Forbidden", DENIED)
            }
            _ => answer(stream, "404 Not Found", r#"{"errors":[]}"#),
        });
        let output = at(&double).env("S", "vault:kv1/x#a").run(APP);
        let message = "S: cannot read (GET kv1/x): 404, nothing is there (also tried kv1/data/x)";
        refused(&output, 76, &[message]);
        assert_eq!(double.reads(), 3, "the mount and both forms: {:?}", double.seen());
    }

    #[test]
    fn a_path_that_is_not_there_is_told_with_what_to_check() {
        let output = real(Bao::shared(), "vault:secret/data/nowhere#a").run(APP);
        let parts = [
            "S: cannot read (GET secret/data/nowhere): 404, nothing is there",
            "(also tried secret/data/data/nowhere)",
            "check mount and path",
        ];
        refused(&output, 76, &parts);
        let output = real(Bao::shared(), "vault:secret/nowhere#a").run(APP);
        let message = "S: cannot read (GET secret/data/nowhere): 404, nothing is there (where KV v2 \
                       keeps secret/nowhere): check mount and path";
        refused(&output, 76, &[message]);
    }

    #[test]
    fn a_missing_field_lists_the_names_that_are_there_and_no_values() {
        let bao = Bao::shared();
        let (user, password) = (canary(), canary());
        bao.put("fields", &json!({ "user": user, "password": password }));
        let output = real(bao, "vault:secret/data/fields#pasword").run(APP);
        let parts =
            [r#"S: secret/data/fields has no field "pasword"; there is: "#, "password", "user"];
        refused(&output, 76, &parts);
        shows_nothing(&output, &[&user, &password]);
    }

    #[test]
    fn a_template_that_fails_shows_no_value() {
        let bao = Bao::shared();
        let password = canary();
        bao.put("template", &json!({ "password": password }));
        let output = real(bao, "vault:secret/data/template#{{ password }}{{ usr }}").run(APP);
        refused(&output, 64, &["S: secret/data/template", "the template cannot be rendered"]);
        shows_nothing(&output, &[&password]);
    }

    #[test]
    fn a_deleted_version_is_told_apart_from_a_missing_path() {
        let bao = Bao::shared();
        bao.put("deleted", &json!({ "a": canary() }));
        bao.api("DELETE", "secret/data/deleted", &json!(null));
        let output = real(bao, "vault:secret/data/deleted#a").run(APP);
        refused(&output, 76, &["was deleted: undelete it, name another version"]);
    }

    #[test]
    fn an_expired_token_is_called_so() {
        let bao = Bao::shared();
        let token = bao.token_with(&json!({ "policies": ["app"], "ttl": "1s" }));
        eventually("the token expires", || !bao.is_valid(&token));
        let output = real(bao, "vault:secret/data/x#a")
            .without_env("VAULT_TOKEN_FILE")
            .env("VAULT_TOKEN", &token)
            .run(APP);
        refused(&output, 76, &["403 refused", "the token has expired"]);
        shows_nothing(&output, &[&token]);
    }

    #[test]
    fn a_wrong_secret_id_is_refused_once_and_not_shown() {
        let bao = Bao::shared();
        let Some(setup) = bao.login(Role::Approle) else { skip!("no approle") };
        let wrong = canary();
        let file = bao.scratch().credential("wrong-secret-id", &wrong);
        let launch = setup.apply(real(bao, "vault:secret/data/x#a"));
        let output = launch.env("VAULT_SECRET_ID_FILE", file).run(APP);
        let parts = [
            "login: cannot log in by approle (POST auth/approle/login): 400 bad request",
            "check the role and the credential",
        ];
        refused(&output, 76, &parts);
        shows_nothing(&output, &[&wrong]);
    }

    #[test]
    fn a_wrapped_secret_id_that_was_used_raises_the_alarm() {
        let bao = Bao::shared();
        let Some(setup) = bao.login(Role::ApproleWrapped) else { skip!("no approle") };
        bao.put("wrapped", &json!({ "a": canary() }));
        let launch = setup.apply(real(bao, "vault:secret/data/wrapped#a"));
        ended(&launch.run(APP), 0);
        let output = launch.run(APP);
        refused(
            &output,
            76,
            &["was used already or has expired: if you did not use it, somebody else has"],
        );
        shows_nothing(&output, &[&setup.credentials[0]]);
    }

    // What may pass is tried again until the deadline.

    #[test]
    fn a_refused_connection_is_tried_again_until_the_deadline() {
        let url = format!("http://127.0.0.1:{}", closed_port());
        let launch = towards(&url).env("S", "vault:kv1/data/x#a").env("VAULT_CLIENT_TIMEOUT", "2s");
        let output = launch.run(APP);
        refused(&output, 69, &["connection refused", "check address and port", "(tried "]);
    }

    #[test]
    fn a_server_that_comes_late_is_waited_for() {
        let port = closed_port();
        let launch = towards(&format!("http://127.0.0.1:{port}")).env("S", "vault:kv1/data/x#a");
        let mut running = launch.spawn(APP);
        thread::sleep(Duration::from_millis(700));
        assert!(!running.ended(), "it gave up: {}", running.stderr());
        let late = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let double =
            Double::serve_on(late, |_, _, stream| answer(stream, "200 OK", &secret_body()));
        let output = running.wait();
        ended(&output, 0);
        assert_eq!((output.text().as_str(), double.reads()), ("started\n", 1));
    }

    #[test]
    fn a_name_that_nobody_knows_is_called_so() {
        let bao = Bao::shared();
        let launch =
            real(bao, "vault:kv1/data/x#a").env("VAULT_ADDR", "https://nowhere.invalid:8200");
        let output = launch.env("VAULT_CLIENT_TIMEOUT", "2s").run(APP);
        refused(&output, 69, &["the host name cannot be resolved"]);
    }

    #[test]
    fn a_sealed_openbao_is_called_so() {
        let bao = Bao::start();
        bao.seal();
        let launch = real(&bao, "vault:secret/data/x#a").env("VAULT_CLIENT_TIMEOUT", "2s");
        refused(&launch.run(APP), 69, &["503", "OpenBao is sealed: unseal it", "(tried "]);
    }

    #[test]
    fn what_passes_does_not_stop_a_launch() {
        let double = Double::start(|nth, _, stream| match nth {
            0 => false,
            1 => {
                say(stream, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"data\":{\"a\":\"c4n");
                false
            }
            2 => answer(stream, "503 Service Unavailable", r#"{"errors":["Vault is sealed"]}"#),
            3 => answer(stream, "502 Bad Gateway", "<html>"),
            4 => {
                answer(stream, "412 Precondition Failed", r#"{"errors":["required index state"]}"#)
            }
            5 => say(stream, "HTTP/1.1 429 Slow\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n"),
            _ => answer(stream, "200 OK", &secret_body()),
        });
        let started = Instant::now();
        let output = at(&double).run(APP);
        ended(&output, 0);
        assert_eq!((output.text().as_str(), double.reads()), ("started\n", 7));
        assert!(started.elapsed() >= Duration::from_secs(1), "Retry-After was not honoured");
    }

    #[test]
    fn slow_bytes_end_at_the_deadline() {
        let double = Double::start(|_, _, stream| drip(stream));
        let output = at(&double).env("VAULT_CLIENT_TIMEOUT", "2s").run(APP);
        refused(&output, 69, &["S: cannot read (GET kv1/data/x): no answer in time"]);
    }

    #[test]
    fn an_answer_that_is_always_cut_is_tried_again_and_told() {
        let double = Double::start(|_, _, stream| {
            say(stream, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"data\":{\"a\":\"c4n");
            false
        });
        let output = at(&double).env("VAULT_CLIENT_TIMEOUT", "2s").run(APP);
        refused(&output, 69, &["the connection ended before the answer did", "(tried "]);
        assert!(double.reads() > 1, "{}", double.reads());
    }

    #[test]
    fn errors_of_the_server_are_tried_again_and_the_last_is_told() {
        let double = Double::always("500 Oops", r#"{"errors":["storage is gone"]}"#);
        let output = at(&double).env("VAULT_CLIENT_TIMEOUT", "2s").run(APP);
        refused(&output, 69, &["500 OpenBao or a gateway before it failed", "storage is gone"]);
        assert!(double.reads() > 1, "{}", double.reads());
    }

    // What is no answer of OpenBao is final.

    #[test]
    fn a_page_of_something_in_front_is_no_answer() {
        let double = Double::always("200 OK", "<html>Log in</html>");
        let output = at(&double).run(APP);
        refused(&output, 69, &["the answer is no JSON: is this the address of OpenBao"]);
        assert_eq!(double.reads(), 1);
    }

    #[test]
    fn a_body_without_end_is_given_up() {
        let double = Double::start(|_, _, stream| {
            say(stream, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
            let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
            (0..400).all(|_| say(stream, &chunk))
        });
        refused(&at(&double).run(APP), 69, &["the answer is larger than 8388608 bytes"]);
        assert_eq!(double.reads(), 1);
    }

    #[test]
    fn a_redirect_takes_no_token_to_another_host() {
        let thief = Double::good();
        let to = format!("{}/v1/kv1/data/x", thief.url());
        let double = Double::start(move |_, _, stream| {
            say(
                stream,
                &format!("HTTP/1.1 307 Away\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n"),
            )
        });
        let output = at(&double).run(APP);
        refused(&output, 69, &["a redirect was not followed", "leads to another host"]);
        assert!(thief.seen().is_empty(), "{:?}", thief.seen());
        assert!(double.seen().iter().all(|request| request.token.is_some()));
    }

    // The way to OpenBao.

    #[test]
    fn a_token_does_not_travel_in_the_clear() {
        let launch = towards("http://192.0.2.7:8200").env("S", "vault:kv1/data/x#a");
        let output = launch.run(APP);
        refused(
            &output,
            64,
            &["the address is http, so the token would travel unencrypted: use https"],
        );
    }

    #[test]
    fn a_server_of_another_authority_is_refused() {
        let Some(other) = Certificate::make() else { return };
        let launch =
            real(Bao::shared(), "vault:kv1/data/x#a").env("VAULT_CACERT", other.file("cert.pem"));
        let output = launch.run(APP);
        refused(
            &output,
            64,
            &["the server's certificate is signed by no trusted CA: give the CA that signed it"],
        );
    }

    #[test]
    fn a_server_with_another_key_than_the_pinned_one_is_an_attack() {
        let pin = format!("sha256//{}=", "A".repeat(43));
        let launch = real(Bao::shared(), "vault:kv1/data/x#a").env("VAULT_SPKI_PIN", pin);
        refused(&launch.run(APP), 77, &["login: ", "pin"]);
    }

    #[test]
    fn a_server_with_tls_1_2_only_is_told_what_to_set() {
        let Some(certificate) = Certificate::make() else { return };
        let server = certificate.serve("-tls1_2");
        let launch = towards(&format!("https://127.0.0.1:{}", server.port))
            .env("VAULT_CACERT", certificate.file("cert.pem"))
            .env("S", "vault:kv1/data/x#a");
        let output = launch.run(APP);
        refused(
            &output,
            69,
            &["the server does not speak TLS 1.3", "set tls_min_version of its listener"],
        );
    }

    #[test]
    fn a_server_without_tls_is_told_apart() {
        let url = Double::good().url().replace("http:", "https:");
        let launch = real(Bao::shared(), "vault:kv1/data/x#a").env("VAULT_ADDR", url);
        refused(&launch.run(APP), 64, &["the server answers without TLS"]);
    }

    /// A certificate for 127.0.0.1, signed by itself.
    struct Certificate(Scratch);

    /// A server that openssl runs; ended with the test.
    struct Server {
        child: Child,
        port: u16,
    }

    impl Certificate {
        fn make() -> Option<Self> {
            let Some(openssl) = on_path("openssl") else {
                println!("SKIP: openssl is not installed");
                return None;
            };
            let scratch = Scratch::new();
            let args = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 \
                        -subj /CN=e2e -addext subjectAltName=IP:127.0.0.1 -keyout key.pem -out cert.pem";
            let mut make = Command::new(openssl);
            make.args(args.split_whitespace()).current_dir(scratch.path());
            let output = make.output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            Some(Self(scratch))
        }

        fn file(&self, name: &str) -> std::path::PathBuf {
            self.0.path().join(name)
        }

        fn serve(&self, version: &str) -> Server {
            let port = closed_port();
            let child = Command::new("openssl")
                .args(["s_server", "-quiet", version, "-cert", "cert.pem", "-key", "key.pem"])
                .args(["-accept", &format!("127.0.0.1:{port}")])
                .current_dir(self.0.path())
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let server = Server { child, port };
            eventually("openssl listens", || {
                std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
            });
            server
        }
    }

    impl Drop for Server {
        fn drop(&mut self) {
            self.child.kill().unwrap();
            self.child.wait().unwrap();
        }
    }

    // What is asked for cannot be used: nothing is sent.

    #[test]
    fn slips_in_references_are_told_all_at_once_with_carets_and_nothing_beside_them() {
        let double = Double::good();
        let output = at(&double)
            .env("A", "vault:secret//db#password")
            .env("B", "vault:secret/data/db")
            .env("C", format!("postgres://{SECRET}@db/${{vault:secret/data/db#user#x1}}/tail"))
            .env("D", "vault:secret/../db#k")
            .env("OTHER", SECRET)
            .run(APP);
        let parts = [
            "4 references cannot be read:",
            "A: the path has an empty segment\n    vault:secret//db#password\n                 ^",
            "B: a reference needs #FIELD after the path\n    vault:secret/data/db\n",
            "C: the version after the second # must be a number from 1\n    ${vault:secret/data/db#user#x1}\n",
            "D: the path must not have . or .. segments\n    vault:secret/../db#k\n                 ^^",
        ];
        refused(&output, 64, &parts);
        assert!(!output.stderr.contains("postgres"), "{}", output.stderr);
        assert!(!output.stderr.contains("tail"), "{}", output.stderr);
        assert!(double.seen().is_empty(), "{:?}", double.seen());
    }

    /// Flags, variables, and parts of the message.
    type Slip<'a> = (&'a [&'a str], &'a [(&'a str, &'a str)], &'a [&'a str]);

    #[test]
    fn settings_that_cannot_be_used_are_named_before_anything_is_sent() {
        let scratch = Scratch::new();
        let plan = |text: &str| scratch.file(&format!("plan-{}", text.len()), text, 0o644);
        let unknown = plan(r#"{"rotation":{"every":"5s"}}"#);
        let broken = plan("{\"env\":\n oops}");
        let missing = scratch.path().join("nowhere");
        let flag = |launch: Launch, flags: &[&str]| flags.iter().fold(launch, Launch::flag);
        let unknown = format!("--plan={}", unknown.display());
        let broken = format!("--plan={}", broken.display());
        let missing = format!("--plan={}", missing.display());
        let double = Double::good();
        let table: &[Slip<'_>] = &[
            (&[&unknown], &[], &["the launch plan in", "unknown field `every`", "line 1"]),
            (&[&broken], &[], &["the launch plan in", "line 2"]),
            (&[&missing], &[], &["nowhere cannot be read", "No such file"]),
            (
                &["--require", "memory=best"],
                &[],
                &["--require", "\"memory=best\" is no requirement", "sealed"],
            ),
            (
                &[],
                &[("CLOUDTASER_REQUIRE", "T7=closed")],
                &["CLOUDTASER_REQUIRE", "is no requirement"],
            ),
            (&["--nope"], &[], &["there is no flag --nope; see --help"]),
            (&["--log-format", "xml"], &[], &["--log-format takes text or json"]),
            (&[], &[("CLOUDTASER_ROTATE_SIGNAL", "SIGNOPE")], &["there is no signal \"SIGNOPE\""]),
            (
                &[],
                &[("CLOUDTASER_ROTATE_EVERY", "soon")],
                &["CLOUDTASER_ROTATE_EVERY must be a time such as 30s"],
            ),
            (
                &[],
                &[("CLOUDTASER_DELIVERY", "magic")],
                &["CLOUDTASER_DELIVERY must be one of auto, follow"],
            ),
            (
                &[],
                &[("VAULT_SKIP_VERIFY", "perhaps")],
                &["VAULT_SKIP_VERIFY must be true or false"],
            ),
            (
                &[],
                &[("VAULT_AUTH_METHOD", "magic")],
                &["VAULT_AUTH_METHOD must be one of kubernetes"],
            ),
        ];
        for (flags, env, parts) in table {
            let launch =
                env.iter().fold(flag(at(&double), flags), |launch, (n, v)| launch.env(n, v));
            refused(&launch.run(APP), 64, parts);
        }
        assert!(double.seen().is_empty(), "{:?}", double.seen());
    }

    #[test]
    fn a_login_that_lacks_something_says_what_to_set() {
        let url = Double::good().url();
        let table: &[(&[(&str, &str)], &str)] = &[
            (
                &[("VAULT_AUTH_METHOD", "approle"), ("VAULT_SECRET_ID_FILE", "/dev/null")],
                "login by approle needs a role id: set VAULT_ROLE_ID",
            ),
            (
                &[("VAULT_AUTH_METHOD", "userpass")],
                "login by userpass needs a user: set VAULT_USERNAME",
            ),
            (
                &[("VAULT_AUTH_METHOD", "userpass"), ("VAULT_USERNAME", "u")],
                "login by userpass needs a password: set VAULT_PASSWORD_FILE",
            ),
            (
                &[("VAULT_AUTH_METHOD", "cert")],
                "login by cert needs a certificate: set VAULT_CLIENT_CERT",
            ),
            (
                &[("VAULT_AUTH_METHOD", "token")],
                "login by token needs a token: set VAULT_TOKEN_FILE",
            ),
            (&[], "login by kubernetes needs a role: set VAULT_ROLE"),
        ];
        for (env, part) in table {
            let launch =
                Launch::wrapped_bare().env("VAULT_ADDR", &url).env("S", "vault:kv1/data/x#a");
            let launch = env.iter().fold(launch, |launch, (name, value)| launch.env(name, value));
            refused(&launch.run(APP), 64, &[part]);
        }
        let nowhere = Launch::wrapped_bare().env("VAULT_TOKEN", "t").env("S", "vault:kv1/data/x#a");
        refused(&nowhere.run(APP), 64, &["no OpenBao address: set VAULT_ADDR"]);
        let unread = Launch::wrapped_bare()
            .env("VAULT_ADDR", &url)
            .env("VAULT_TOKEN_FILE", "/nowhere/token")
            .env("S", "vault:kv1/data/x#a");
        refused(
            &unread.run(APP),
            64,
            &["the credential in /nowhere/token cannot be read", "No such file"],
        );
    }

    // What is to be started cannot be started: nothing is fetched for it.

    #[test]
    fn a_program_that_cannot_be_started_ends_with_the_codes_of_container_runtimes() {
        let scratch = Scratch::new();
        let plain = scratch.file("plain", "no program", 0o644);
        let word = |path: &Path| path.to_str().unwrap().to_owned();
        let double = Double::good();
        let table = [
            ("cloudtaser-no-such-program".to_owned(), 127, "cloudtaser-no-such-program"),
            (word(&scratch.path().join("nowhere")), 127, "nowhere"),
            (word(&plain), 126, "plain"),
            (word(scratch.path()), 126, "ct-e2e-"),
        ];
        for (program, code, part) in table {
            refused(&at(&double).run([program]), code, &[part]);
        }
        assert!(double.seen().is_empty(), "{:?}", double.seen());
    }

    #[test]
    fn a_launch_without_a_command_shows_how_to_write_one() {
        let nothing: [&str; 0] = [];
        refused(
            &Launch::wrapped_bare().run(nothing),
            64,
            &["no command given; write: cloudtaser-wrapper run -- COMMAND"],
        );
    }

    // A stop while OpenBao is away.

    fn stopped(launch: Launch, signal: Signal, code: i32, wrapper: impl Fn(i32) -> Option<i32>) {
        let running = launch.spawn(APP);
        let mut pid = None;
        eventually("the wrapper runs", || {
            pid = wrapper(running.pid());
            // Waiting for OpenBao is done by a second thread.
            pid.is_some_and(|pid| {
                fs::read_dir(format!("/proc/{pid}/task")).is_ok_and(|tasks| tasks.count() > 1)
            })
        });
        thread::sleep(Duration::from_millis(200));
        let told = Instant::now();
        kill(pid.unwrap(), signal);
        let output = running.wait();
        // The deadline is a minute, and a stop has half a second of its own.
        assert!(told.elapsed() < Duration::from_secs(5), "{:?}", told.elapsed());
        refused(&output, code, &["stopped by signal", "before the app was started"]);
    }

    fn waits(url: &str) -> Launch {
        towards(url).env("S", "vault:kv1/data/x#a").env("VAULT_CLIENT_TIMEOUT", "60s")
    }

    #[test]
    fn a_stop_ends_a_launch_that_waits_for_openbao() {
        let silent = Double::start(|_, _, _| {
            thread::sleep(Duration::from_secs(60));
            false
        });
        let closed = format!("http://127.0.0.1:{}", closed_port());
        for url in [closed, silent.url()] {
            for (signal, code) in
                [(Signal::SIGTERM, 143), (Signal::SIGINT, 130), (Signal::SIGHUP, 129)]
            {
                stopped(waits(&url), signal, code, Some);
            }
        }
    }

    #[test]
    fn a_stop_ends_a_launch_that_waits_as_pid_1() {
        let Some(words) = as_pid_1() else { return };
        let closed = format!("http://127.0.0.1:{}", closed_port());
        let launch = waits(&closed).behind(words);
        stopped(launch, Signal::SIGTERM, 143, |unshare| {
            let wrapper = |pid: &i32| {
                fs::read(format!("/proc/{pid}/comm"))
                    .is_ok_and(|comm| comm.starts_with(b"cloudtaser"))
            };
            descendants(unshare).into_iter().find(wrapper)
        });
    }

    // Tokens of our own login do not outlive their use.

    fn tokens_beside_the_tests(bao: &Bao) -> usize {
        bao.accessors().len()
    }

    #[test]
    fn a_token_of_our_own_login_is_given_back() {
        let bao = Bao::start();
        bao.put("x", &json!({ "a": canary() }));
        let Some(setup) = bao.login(Role::Approle) else { skip!("no approle") };
        let before = tokens_beside_the_tests(&bao);
        let launch = || setup.apply(real(&bao, "vault:secret/data/x#a"));

        ended(&launch().run(["true"]), 0);
        assert_eq!(tokens_beside_the_tests(&bao), before, "after the app");

        let failed = launch().env("S", "vault:secret/data/x#nope").run(APP);
        refused(&failed, 76, &["has no field"]);
        assert_eq!(tokens_beside_the_tests(&bao), before, "after a launch that failed");

        // Nothing looks again, so that nothing needs the token while the app runs.
        let mut idle = launch().spawn(["sh", "-c", "echo started; read -r _"]);
        idle.until_stdout("start", |out| out == b"started\n");
        eventually("the token is given back at once", || tokens_beside_the_tests(&bao) == before);
        idle.close_stdin();
        assert_ne!(idle.wait().code(), 69);

        let mut looking = launch().env("CLOUDTASER_ROTATE_EVERY", "1s").spawn([
            "sh",
            "-c",
            "echo started; read -r _",
        ]);
        looking.until_stdout("start", |out| out == b"started\n");
        assert_eq!(tokens_beside_the_tests(&bao), before + 1, "while it is needed");
        looking.close_stdin();
        looking.wait();
        assert_eq!(tokens_beside_the_tests(&bao), before, "in the end");

        ended(&launch().env("VAULT_REVOKE_TOKEN", "false").run(["true"]), 0);
        assert_eq!(tokens_beside_the_tests(&bao), before + 1, "left alone where told so");
    }

    #[test]
    fn a_token_that_was_handed_over_is_left_alone() {
        let bao = Bao::shared();
        bao.put("handed", &json!({ "a": canary() }));
        let token = bao.token("app");
        let file = bao.scratch().credential("token-handed", &token);
        let launch = real(bao, "vault:secret/data/handed#a").env("VAULT_TOKEN_FILE", file);
        let output = launch.run(["true"]).ok();
        assert!(bao.is_valid(&token), "it was revoked: {}", output.stderr);
    }

    #[test]
    fn an_openbao_that_is_gone_does_not_hold_up_the_end() {
        let bao = Bao::start();
        bao.put("x", &json!({ "a": canary() }));
        let Some(setup) = bao.login(Role::Approle) else { skip!("no approle") };
        let launch = setup.apply(real(&bao, "vault:secret/data/x#a"));
        let launch = launch.env("CLOUDTASER_ROTATE_EVERY", "60s");
        let mut running = launch.spawn(["sh", "-c", "echo started; read -r _; exit 3"]);
        running.until_stdout("start", |out| out == b"started\n");
        bao.signal(Signal::SIGSTOP);
        assert!(is_alive(running.pid()));
        let told = Instant::now();
        running.close_stdin();
        assert_eq!(running.wait().code(), 3);
        assert!(told.elapsed() < Duration::from_secs(10), "{:?}", told.elapsed());
    }
}
