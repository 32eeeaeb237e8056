//! The cluster as `kubectl` shows it: who uses one has it, with whatever credentials it takes.

use std::{
    io::Write as _,
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, anyhow, bail};
use serde_json::Value;

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(500);

/// A namespace of a cluster; empty for none.
#[derive(Clone, Debug)]
pub(crate) struct Kubectl {
    context: Option<String>,
    namespace: String,
}

impl Kubectl {
    pub(crate) const fn new(context: Option<String>) -> Self {
        Self { context, namespace: String::new() }
    }

    /// The same cluster, elsewhere.
    pub(crate) fn within(&self, namespace: &str) -> Self {
        Self { context: self.context.clone(), namespace: namespace.to_owned() }
    }

    pub(crate) fn namespace(&self) -> &str {
        &self.namespace
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("kubectl");
        if let Some(context) = &self.context {
            command.args(["--context", context]);
        }
        if !self.namespace.is_empty() {
            command.args(["--namespace", &self.namespace]);
        }
        command.args(words).stdin(Stdio::null());
        command
    }

    /// Runs one command; what it printed.
    ///
    /// # Errors
    /// What it said.
    pub(crate) fn run(&self, words: &[&str]) -> anyhow::Result<String> {
        let output = self.command(words).output().context("cannot run kubectl")?;
        text_of(&output, &words.join(" "))
    }

    /// An object, or a list of them, as JSON.
    ///
    /// # Errors
    /// As [`Kubectl::run`].
    pub(crate) fn get(&self, words: &[&str]) -> anyhow::Result<Value> {
        let text = self.run(&[&["get"], words, &["--output=json"]].concat())?;
        serde_json::from_str(&text).context("kubectl printed no JSON")
    }

    /// One member of an object, as text; nothing where it has none.
    ///
    /// # Errors
    /// As [`Kubectl::run`].
    pub(crate) fn text(&self, words: &[&str], pointer: &str) -> anyhow::Result<String> {
        let object = self.get(words)?;
        let found = object.pointer(pointer).and_then(Value::as_str);
        Ok(found.unwrap_or_default().to_owned())
    }

    /// Creates an object; what was printed, warnings included.
    ///
    /// # Errors
    /// What the API server said.
    pub(crate) fn create(&self, object: &Value) -> anyhow::Result<String> {
        self.pipe(&["create", "--filename=-"], object)
    }

    /// Applies an object, as its authors do.
    ///
    /// # Errors
    /// What the API server said.
    pub(crate) fn apply(&self, object: &Value) -> anyhow::Result<String> {
        self.pipe(&["apply", "--filename=-"], object)
    }

    fn pipe(&self, words: &[&str], object: &Value) -> anyhow::Result<String> {
        let mut command = self.command(words);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().context("cannot run kubectl")?;
        child.stdin.take().context("no pipe")?.write_all(object.to_string().as_bytes())?;
        let output = child.wait_with_output()?;
        let warnings = String::from_utf8_lossy(&output.stderr).into_owned();
        Ok(format!("{}{warnings}", text_of(&output, &words.join(" "))?))
    }

    /// What a container has printed.
    ///
    /// # Errors
    /// As [`Kubectl::run`].
    pub(crate) fn logs(&self, pod: &str, container: &str) -> anyhow::Result<String> {
        self.run(&["logs", pod, "--container", container])
    }

    /// Starts a program in a container; what it printed.
    ///
    /// # Errors
    /// As [`Kubectl::run`].
    pub(crate) fn exec(
        &self,
        pod: &str,
        container: &str,
        words: &[&str],
    ) -> anyhow::Result<String> {
        self.run(&[&["exec", pod, "--container", container, "--"], words].concat())
    }

    /// Brings a port of a pod here, until the child ends.
    ///
    /// # Errors
    /// Where kubectl cannot be started.
    pub(crate) fn forward(&self, pod: &str, ports: &str) -> anyhow::Result<Child> {
        let mut command = self.command(&["port-forward", pod, ports]);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().context("cannot run kubectl")
    }

    /// Takes an object away, and waits until it is gone.
    ///
    /// # Errors
    /// As [`Kubectl::run`].
    pub(crate) fn delete(&self, kind: &str, name: &str) -> anyhow::Result<()> {
        self.run(&["delete", kind, name, "--ignore-not-found", "--timeout=180s"]).map(drop)
    }
}

fn text_of(output: &Output, shown: &str) -> anyhow::Result<String> {
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("kubectl {shown}: {}", said.trim());
    }
    String::from_utf8(output.stdout.clone()).map_err(|_bytes| anyhow!("kubectl printed no text"))
}

/// Looks again and again until there is something.
///
/// # Errors
/// What the last look said, when patience is at an end.
pub(crate) fn until<T>(
    what: &str,
    patience: Duration,
    mut look: impl FnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let start = Instant::now();
    loop {
        let last = match look() {
            Ok(Some(found)) => return Ok(found),
            Ok(None) => None,
            Err(error) => Some(error),
        };
        if start.elapsed() >= patience {
            let seconds = patience.as_secs();
            return Err(last.map_or_else(
                || anyhow!("waited {seconds} s for {what}"),
                |error| error.context(format!("waited {seconds} s for {what}")),
            ));
        }
        thread::sleep(PAUSE);
    }
}
