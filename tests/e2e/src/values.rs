//! Secrets of every awkward form, the references to them, and the check that an app got exactly
//! these and shows them nowhere.
//!
//! Apps are the `show` fixtures, which all speak the protocol that `show.c` describes.

use std::ffi::OsString;

use serde_json::json;

use crate::{Bao, Launch, Running, canary, descendants, environ, find, stack_holds};

/// How a `show` fixture answers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Shown {
    /// By the length of each value.
    Length,
    /// By the value itself.
    Value,
}

/// Variables of a launch, with what each must be in the app.
#[derive(Debug)]
pub struct Values {
    each: Vec<(&'static str, String, Vec<u8>)>,
    needles: Vec<Vec<u8>>,
}

impl Values {
    /// Stores a fresh set of secrets and refers to it in every way there is.
    #[must_use]
    pub fn seed(bao: &Bao) -> Self {
        let path = canary();
        let [password, odd, utf8, old] = [(); 4].map(|()| canary());
        let odd = format!("a=b'c\"d\ne\\f $HOME `x` #{{ }} {odd} ");
        let utf8 = format!("pässwörd-🔑-{utf8}");
        let long = canary().repeat(210);
        let fields = json!({ "password": password, "user": "app", "odd": odd, "utf8": utf8,
            "long": long, "empty": "" });
        bao.put(&path, &json!({ "password": old }));
        bao.put(&path, &fields);
        bao.put_v1(&path, &json!({ "password": password }));
        let at = format!("secret/data/{path}");
        let mut values = Self { each: Vec::new(), needles: Vec::new() };
        let mut add = |name, reference: String, expected: String| {
            values.each.push((name, reference, expected.into_bytes()));
        };
        add("PASSWORD", format!("vault:{at}#password"), password.clone());
        add("TWIN", format!("bao:secret/{path}#password"), password.clone());
        add("OLD", format!("vault:{at}#password#1"), old.clone());
        add("FIRST_KIND", format!("vault:kv1/{path}#password"), password.clone());
        add(
            "TEMPLATE",
            format!("vault:{at}#{{{{ user }}}}:{{{{ password }}}}"),
            format!("app:{password}"),
        );
        add(
            "URL",
            format!("pg://app:${{vault:{at}#password}}@h/db"),
            format!("pg://app:{password}@h/db"),
        );
        add("EMPTY", format!("vault:{at}#empty"), String::new());
        add("LONG", format!("vault:{at}#long"), long.clone());
        add("ODD", format!("vault:{at}#odd"), odd.clone());
        add("UTF8", format!("vault:{at}#utf8"), utf8.clone());
        add("PLAIN", "as it was=yes".to_owned(), "as it was=yes".to_owned());
        add("ALSO_EMPTY", String::new(), String::new());
        // A part of each is enough: nothing of a long value is to be seen either.
        values.needles = [&password, &odd, &utf8, &old]
            .map(|value| value.as_bytes().to_vec())
            .into_iter()
            .chain([long.as_bytes()[..40].to_vec()])
            .collect();
        values
    }

    /// One secret alone, in `PASSWORD`.
    #[must_use]
    pub fn one(bao: &Bao) -> Self {
        let (path, password) = (canary(), canary());
        bao.put(&path, &json!({ "password": password }));
        let reference = format!("vault:secret/data/{path}#password");
        let password = password.into_bytes();
        Self { each: vec![("PASSWORD", reference, password.clone())], needles: vec![password] }
    }

    /// Sets the variables of a launch to the references.
    #[must_use]
    pub fn refer(&self, launch: Launch) -> Launch {
        self.each.iter().fold(launch, |launch, (name, reference, _)| launch.env(name, reference))
    }

    /// Sets the variables to the values themselves: what happens without the wrapper.
    #[must_use]
    pub fn set(&self, launch: Launch) -> Launch {
        use std::os::unix::ffi::OsStrExt as _;
        let bytes = std::ffi::OsStr::from_bytes;
        self.each.iter().fold(launch, |launch, (name, _, value)| launch.env(name, bytes(value)))
    }

    /// Arguments for a `show` fixture.
    #[must_use]
    pub fn arguments(&self, shown: Shown) -> Vec<OsString> {
        let mode = if shown == Shown::Value { "print" } else { "length" };
        [mode].into_iter().chain(self.each.iter().map(|(name, ..)| *name)).map(Into::into).collect()
    }

    /// What may be found nowhere.
    #[must_use]
    pub fn needles(&self) -> Vec<&[u8]> {
        self.needles.iter().map(Vec::as_slice).collect()
    }

    /// The value of a variable in the app.
    #[must_use]
    pub fn expected(&self, name: &str) -> &[u8] {
        let found = self.each.iter().find(|(given, ..)| *given == name);
        &found.expect("a variable of the set").2
    }

    /// The reference that a variable is set to.
    #[must_use]
    pub fn reference(&self, name: &str) -> String {
        let found = self.each.iter().find(|(given, ..)| *given == name);
        found.expect("a variable of the set").1.clone()
    }

    /// Runs a `show` fixture, behind `app`, and demands each value, an environment block without
    /// any in every process of the tree while it runs, and a good end.
    pub fn check<A: Into<OsString>>(&self, launch: &Launch, app: impl IntoIterator<Item = A>) {
        let argv = app.into_iter().map(Into::into).chain(self.arguments(Shown::Value));
        let mut running = launch.spawn(argv.collect::<Vec<_>>());
        self.check_values(&mut running);
        self.check_tree(running.pid());
        running.close_stdin();
        let output = running.wait();
        assert!(output.status.success(), "{}: {}", output.status, output.stderr);
        assert_eq!(output.stderr, "", "something was said");
    }

    /// Tells a `show` fixture to go on and demands each value.
    pub fn check_values(&self, running: &mut Running) {
        running.until_stdout("ready", |out| out.starts_with(b"ready\0"));
        running.write(b"\n");
        let count = self.each.len() + 1;
        let out = running
            .until_stdout("values", |out| out.iter().filter(|byte| **byte == 0).count() >= count);
        let answers = out.split(|byte| *byte == 0).skip(1);
        for ((name, _, expected), answer) in self.each.iter().zip(answers) {
            // Not assert_eq: 8 KiB twice help nobody.
            let [got, wanted] = [answer, expected]
                .map(|bytes| String::from_utf8_lossy(&bytes[..bytes.len().min(120)]).into_owned());
            assert!(answer == expected, "{name} is {got:?} instead of {wanted:?}");
        }
    }

    /// Demands that no process from this one downwards shows a value in its environment block or
    /// at the top of its stack.
    pub fn check_tree(&self, pid: i32) {
        for pid in descendants(pid).into_iter().chain([pid]) {
            let block = environ(pid).unwrap_or_default();
            let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let command = String::from_utf8_lossy(&command).replace('\0', " ");
            for needle in &self.needles {
                let holds = !find(&block, needle).is_empty();
                assert!(!holds, "a value in the environment block of {pid} ({command})");
            }
            let stack = stack_holds(pid, &self.needles).unwrap_or(false);
            assert!(!stack, "a value on the stack of {pid} ({command})");
        }
    }
}
