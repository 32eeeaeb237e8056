//! What becomes of a running app when a value changes in OpenBao, when a lease or a token ends, and
//! when OpenBao is away.
//!
//! The app prints a hash of its variable whenever that changes, so that no value is in its output,
//! and its pid when it starts. Times are waited for, never measured.

#[cfg(test)]
mod common;

#[cfg(test)]
mod tests {
    use std::{
        path::PathBuf,
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
        thread,
        time::Duration,
    };

    use cloudtaser_e2e::{
        Bao, Launch, Role, Running, Scratch, User, canary, is_root, on_path, skip,
    };
    use nix::sys::signal::Signal;
    use serde_json::{Value, json};

    use super::common::{
        Double, SECRET, at,
        double::{answer, secret_body},
        eventually, is_alive,
        programs::{self, WATCH_VALUE, fnv1a},
    };

    /// How often is looked in these tests.
    const EVERY: &str = "300ms";

    /// An app that watches its variable, with the secret that it watches.
    struct Watched {
        bao: &'static Bao,
        path: &'static str,
        app: PathBuf,
        first: String,
        _scratch: Scratch,
    }

    impl Watched {
        fn prepare(path: &'static str) -> Option<Self> {
            let scratch = Scratch::new();
            let app = programs::c(&scratch, "watch", WATCH_VALUE)?;
            let watched =
                Self { bao: Bao::shared(), path, app, first: canary(), _scratch: scratch };
            watched.put(&watched.first);
            Some(watched)
        }

        fn put(&self, value: &str) {
            self.bao.put(self.path, &json!({ "a": value }));
        }

        fn launch(&self, action: &str) -> Launch {
            Launch::wrapped(self.bao)
                .without_flag("--quiet")
                .env("S", format!("vault:secret/data/{}#a", self.path))
                .env("CLOUDTASER_ROTATE_EVERY", EVERY)
                .env("CLOUDTASER_ROTATE_ACTION", action)
        }

        /// Starts the app and waits until it has its first value.
        fn start(&self, launch: &Launch) -> Running {
            let mut running = launch.spawn([self.app.as_os_str(), "S".as_ref()]);
            sees(&mut running, &self.first);
            running
        }
    }

    fn sees(running: &mut Running, value: &str) {
        let line = format!("value {}\n", fnv1a(value));
        running.until_stdout("the value", |out| String::from_utf8_lossy(out).contains(&line));
    }

    fn lines(running: &Running, prefix: &str) -> Vec<String> {
        let out = String::from_utf8_lossy(&running.stdout()).into_owned();
        out.lines().filter(|line| line.starts_with(prefix)).map(str::to_owned).collect()
    }

    /// Ends it, and demands that no value was written.
    fn finish(running: Running, values: &[&str]) {
        running.signal(Signal::SIGTERM);
        let output = running.wait();
        assert_eq!(output.status.code(), Some(143), "{}", output.stderr);
        super::common::shows_nothing(&output, values);
    }

    #[test]
    fn a_value_changes_in_place_under_a_running_app() {
        let Some(watched) = Watched::prepare("in-place") else { return };
        let mut running = watched.start(&watched.launch("in-place"));
        let (same, short) = (canary(), "short".to_owned());
        for value in [&same, &short] {
            watched.put(value);
            sees(&mut running, value);
        }
        assert_eq!(lines(&running, "pid ").len(), 1, "it was started again");
        running.until_stderr("values changed and were written in place");
        assert!(running.stderr().contains("names: [\"S\"]"), "{}", running.stderr());
        finish(running, &[&watched.first, &same]);
    }

    #[test]
    fn a_value_changes_in_place_without_privileges() {
        let Some(watched) = Watched::prepare("restricted") else { return };
        if !is_root() || on_path("setpriv").is_none() {
            skip!("it takes root and setpriv to drop privileges");
        }
        let mut running = watched.start(&watched.launch("in-place").user(User::Unprivileged));
        let next = canary();
        watched.put(&next);
        sees(&mut running, &next);
        assert_eq!(lines(&running, "pid ").len(), 1, "it was started again");
        finish(running, &[&watched.first, &next]);
    }

    #[test]
    fn a_value_that_stays_is_not_told() {
        let Some(watched) = Watched::prepare("stays") else { return };
        let running = watched.start(&watched.launch("restart"));
        watched.put(&watched.first);
        thread::sleep(Duration::from_secs(2));
        assert!(!running.stderr().contains("values changed"), "{}", running.stderr());
        assert_eq!(lines(&running, "pid ").len(), 1);
        finish(running, &[&watched.first]);
    }

    #[test]
    fn the_app_is_told_of_a_new_value_by_a_signal_once() {
        let Some(watched) = Watched::prepare("signal") else { return };
        for (name, number) in [(None, 1), (Some("usr1"), 10)] {
            let launch = watched.launch("signal");
            let launch = name
                .iter()
                .fold(launch, |launch, name| launch.env("CLOUDTASER_ROTATE_SIGNAL", name));
            watched.put(&watched.first);
            let mut running = watched.start(&launch);
            let next = canary();
            watched.put(&next);
            sees(&mut running, &next);
            eventually("the signal", || !lines(&running, "told ").is_empty());
            thread::sleep(Duration::from_secs(1));
            assert_eq!(lines(&running, "told "), [format!("told {number}")]);
            assert_eq!(lines(&running, "pid ").len(), 1, "it was started again");
            finish(running, &[&watched.first, &next]);
        }
    }

    #[test]
    fn the_app_is_started_again_with_the_new_value() {
        let Some(watched) = Watched::prepare("restart") else { return };
        let mut running = watched.start(&watched.launch("restart"));
        let next = canary();
        watched.put(&next);
        sees(&mut running, &next);
        let pids = lines(&running, "pid ");
        assert_eq!(pids.len(), 2, "{pids:?}");
        assert_ne!(pids[0], pids[1]);
        running.until_stderr("values changed; the app is started again");
        finish(running, &[&watched.first, &next]);
    }

    #[test]
    fn an_app_that_does_not_leave_is_killed_after_its_grace() {
        let Some(watched) = Watched::prepare("grace") else { return };
        let plan = json!({ "rotation": { "poll": EVERY, "action": "restart", "grace": "1s" } });
        let launch = watched.launch("restart").env("CLOUDTASER_PLAN", plan.to_string());
        let app = "trap '' TERM; echo \"pid $$\"; while :; do sleep 0.05; done";
        let running = launch.spawn(["sh", "-c", app]);
        eventually("the first", || lines(&running, "pid ").len() == 1);
        let first = running.app();
        watched.put(&canary());
        eventually("the second", || lines(&running, "pid ").len() == 2);
        assert!(!is_alive(first));
        // It would outlive a wrapper that is killed alone.
        drop(running);
    }

    #[test]
    fn a_stop_during_a_restart_is_the_end() {
        let Some(watched) = Watched::prepare("stop") else { return };
        let app = "trap 'sleep 2; exit 5' TERM; echo \"pid $$\"; while :; do sleep 0.05; done";
        let mut running = watched.launch("restart").spawn(["sh", "-c", app]);
        eventually("the first", || lines(&running, "pid ").len() == 1);
        watched.put(&canary());
        running.until_stderr("the app is started again");
        running.signal(Signal::SIGTERM);
        let output = running.wait();
        assert_eq!(output.status.code(), Some(5), "{}", output.stderr);
        assert_eq!(output.text().lines().count(), 1, "{}", output.text());
    }

    #[test]
    fn an_app_that_keeps_its_values_is_told_nothing_and_the_log_says_so() {
        let Some(watched) = Watched::prepare("none") else { return };
        let mut running = watched.start(&watched.launch("none"));
        let next = canary();
        watched.put(&next);
        running.until_stderr("values changed in OpenBao; the app keeps its own");
        thread::sleep(Duration::from_secs(1));
        assert_eq!(lines(&running, "value ").len(), 1);
        assert_eq!(lines(&running, "pid ").len(), 1);
        finish(running, &[&watched.first, &next]);
    }

    #[test]
    fn a_value_that_outgrows_its_place_starts_the_app_again() {
        let Some(watched) = Watched::prepare("grows") else { return };
        for action in ["in-place", "signal"] {
            watched.put(&watched.first);
            let mut running = watched.start(&watched.launch(action));
            let one = canary();
            let next = one.repeat(2000);
            watched.put(&next);
            sees(&mut running, &next);
            assert_eq!(lines(&running, "pid ").len(), 2, "{action}: {}", running.stderr());
            finish(running, &[&watched.first, &one]);
        }
    }

    /// A PKI whose certificates are leased for four seconds.
    fn pki(bao: &Bao) -> Launch {
        bao.api("POST", "sys/mounts/pki", &json!({ "type": "pki" }));
        let root = json!({ "common_name": "e2e", "key_type": "ec", "key_bits": 256, "ttl": "1h" });
        bao.api("POST", "pki/root/generate/internal", &root);
        let role = json!({
            "allow_any_name": true, "key_type": "ec", "key_bits": 256, "ttl": "4s",
            "generate_lease": true, "enforce_hostnames": false,
        });
        bao.api("POST", "pki/roles/app", &role);
        bao.policy(
            "pki",
            r#"
            path "pki/issue/app" { capabilities = ["update"] }
            path "sys/leases/*" { capabilities = ["update"] }
        "#,
        );
        let token = bao.token_with(&json!({ "policies": ["pki"], "ttl": "1h" }));
        let file = bao.scratch().credential("token-pki", &token);
        let reference =
            |field: &str| format!(r#">>vault:pki/issue/app#{field}#{{"common_name":"app"}}"#);
        Launch::wrapped(bao)
            .without_flag("--quiet")
            .env("VAULT_TOKEN_FILE", file)
            .env("S", reference("serial_number"))
            .env("KEY", reference("private_key"))
    }

    #[test]
    fn a_leased_certificate_is_replaced_before_it_ends() {
        let scratch = Scratch::new();
        let Some(app) = programs::c(&scratch, "watch", WATCH_VALUE) else { return };
        let bao = Bao::start();
        let launch = pki(&bao).env("CLOUDTASER_ROTATE_ACTION", "in-place");
        let running = launch.spawn([app.as_os_str(), "S".as_ref()]);
        // No polling is asked for: the lease alone brings the next ones.
        eventually("three certificates", || lines(&running, "value ").len() >= 3);
        let log = running.stderr();
        assert!(log.contains("values changed"), "{log}");
        assert!(log.contains("names: [\"KEY\",\"S\"]"), "key and number come together: {log}");
        let serials = bao.api("LIST", "pki/certs", &Value::Null);
        let issued = serials.pointer("/data/keys").and_then(Value::as_array).map_or(0, Vec::len);
        let seen = lines(&running, "value ").len();
        assert!(issued <= seen + 2, "one certificate per lease: {issued} issued, {seen} seen");
        finish(running, &[]);
    }

    #[test]
    fn a_token_with_a_short_life_is_kept_alive_or_replaced() {
        let Some(watched) = Watched::prepare("token") else { return };
        let Some(setup) = watched.bao.login(Role::Approle) else { skip!("no approle") };
        // Renewable for six seconds in all: renewed at first, then replaced by another login.
        let role = json!({ "token_policies": ["app"], "token_ttl": "3s", "token_max_ttl": "6s" });
        watched.bao.api("POST", "auth/approle/role/app", &role);
        let mut running = watched.start(&setup.apply(watched.launch("in-place")));
        thread::sleep(Duration::from_secs(10));
        let next = canary();
        watched.put(&next);
        sees(&mut running, &next);
        assert!(!running.stderr().contains("failed"), "{}", running.stderr());
        finish(running, &[&watched.first, &next]);
    }

    /// A double that gives one of two values, refuses, or hangs up.
    fn fickle() -> (Double, Arc<AtomicUsize>) {
        let state = Arc::new(AtomicUsize::new(0));
        let now = Arc::clone(&state);
        let double = Double::start(move |_, _, stream| match now.load(Ordering::SeqCst) {
            0 => answer(stream, "200 OK", &secret_body()),
            1 => answer(stream, "403 Forbidden", r#"{"errors":["permission denied"]}"#),
            2 => false,
            _ => answer(stream, "200 OK", &secret_body().replace("c4n4ry", "other1")),
        });
        (double, state)
    }

    #[test]
    fn an_app_outlives_an_openbao_that_is_away() {
        let scratch = Scratch::new();
        let Some(app) = programs::c(&scratch, "watch", WATCH_VALUE) else { return };
        for trouble in [1, 2] {
            let (double, state) = fickle();
            let launch = at(&double)
                .env("CLOUDTASER_ROTATE_EVERY", EVERY)
                .env("CLOUDTASER_ROTATE_ACTION", "in-place")
                .patience(Duration::from_secs(120));
            let mut running = launch.spawn([app.as_os_str(), "S".as_ref()]);
            sees(&mut running, SECRET);
            state.store(trouble, Ordering::SeqCst);
            // A round of tries takes half a minute where connections are cut.
            running.until_stderr("failed and is tried again");
            let before = double.reads();
            eventually("it is asked again", || double.reads() > before + 3);
            let told = running.stderr().matches("failed and is tried again").count();
            assert_eq!(told, 1, "told once: {}", running.stderr());
            assert!(!running.ended());
            state.store(3, Ordering::SeqCst);
            running.until_stderr("OpenBao answers again");
            sees(&mut running, &SECRET.replace("c4n4ry", "other1"));
            assert_eq!(lines(&running, "pid ").len(), 1, "it was started again");
            finish(running, &[SECRET]);
        }
    }
}
