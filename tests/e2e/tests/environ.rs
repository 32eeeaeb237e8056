//! No reader, however quick, sees a value in an environment block or on a stack while programs
//! start: thousands of execs under two pollers that never rest.
//!
//! The controls show that the same pollers find values that are there, and that they find them in
//! programs that live for less than a millisecond and wipe their block as the first thing.
//! `CLOUDTASER_EXECS` sets how many execs there are in all.

#[cfg(test)]
mod environ {
    use std::{env, ffi::OsString, path::PathBuf, time::Duration};

    use cloudtaser_e2e::{
        Bao, EnvironWatcher, Launch, Scratch, User, Values, Watched, compile_c, fixture, is_root,
        on_path, skip,
    };

    /// Tests that share the number of execs among them.
    const LOADS: u32 = 5;

    fn execs() -> u32 {
        let given = env::var("CLOUDTASER_EXECS").ok().and_then(|text| text.parse().ok());
        given.unwrap_or(2500) / LOADS
    }

    fn brief(scratch: &Scratch) -> Option<PathBuf> {
        compile_c(scratch, "gcc", "brief.c", &["-static"])
    }

    /// Starts `/bin/true` from one shell again and again.
    fn shell(times: u32) -> [OsString; 3] {
        let script =
            format!("i=0; while [ $i -lt {times} ]; do /bin/true || exit 9; i=$((i+1)); done");
        ["dash".into(), "-c".into(), script.into()]
    }

    fn parallel(times: u32) -> [OsString; 3] {
        let share = times / 8;
        let script = format!(
            "for n in 1 2 3 4 5 6 7 8; do (i=0; while [ $i -lt {share} ]; do /bin/true || exit 9; \
             i=$((i+1)); done) & done; wait"
        );
        ["bash".into(), "-c".into(), script.into()]
    }

    /// A load under the watchers, as the wrapper runs it.
    fn nothing_is_seen(app: &[OsString], user: User) {
        if !is_root() {
            skip!("reading other processes needs root");
        }
        let bao = Bao::shared();
        let values = Values::seed(bao);
        let launch =
            values.refer(Launch::wrapped(bao)).user(user).patience(Duration::from_secs(550));
        let (output, watched) = EnvironWatcher::during(&values.needles(), || launch.run(app));
        let output = output.ok();
        assert_eq!(output.stderr, "");
        report(&watched);
        assert!(watched.hits.is_empty(), "{} hits: {:#?}", watched.hits.len(), watched.hits);
        assert!(watched.reads > u64::from(execs()), "the watchers hardly read: {watched:?}");
    }

    fn report(watched: &Watched) {
        let Watched { reads, mid_exec, processes, hit_processes, .. } = watched;
        println!(
            "{reads} reads of {} processes, {mid_exec} of them in the middle of an exec; \
             values in {} processes",
            processes.len(),
            hit_processes.len()
        );
    }

    #[test]
    fn one_exec_after_the_other_shows_nothing() {
        nothing_is_seen(&shell(execs()), User::Same);
    }

    #[test]
    fn execs_of_an_unprivileged_app_show_nothing() {
        nothing_is_seen(&shell(execs()), User::Unprivileged);
    }

    #[test]
    fn parallel_execs_show_nothing() {
        nothing_is_seen(&parallel(execs()), User::Same);
    }

    #[test]
    fn execs_of_a_program_with_threads_show_nothing() {
        let Some(python) = on_path("python3") else { skip!("python3 is not installed") };
        let times = execs().to_string();
        let app = [python.into(), fixture("threads.py").into(), times.into(), "/bin/true".into()];
        nothing_is_seen(&app, User::Same);
    }

    #[test]
    fn failing_searches_through_path_show_nothing() {
        let scratch = Scratch::new();
        let Some(spawn) = compile_c(&scratch, "gcc", "spawn.c", &["-pthread"]) else {
            skip!("gcc is not installed")
        };
        let path = "PATH=/nonexistent:/etc:/etc/passwd:/bin";
        let times = execs().to_string();
        let app =
            ["/usr/bin/env", path, &spawn.display().to_string(), "again", &times, "search", "true"];
        nothing_is_seen(&app.map(OsString::from), User::Same);
    }

    #[test]
    fn the_watchers_find_values_that_are_there() {
        if !is_root() {
            skip!("reading other processes needs root");
        }
        let values = Values::seed(Bao::shared());
        let launch = values.set(Launch::bare());
        let (output, watched) =
            EnvironWatcher::during(&values.needles(), || launch.run(shell(200)));
        drop(output.ok());
        report(&watched);
        assert!(watched.hit_processes.len() > 20, "blind: {watched:?}");
    }

    #[test]
    fn the_watchers_find_values_that_are_there_for_a_moment() {
        if !is_root() {
            skip!("reading other processes needs root");
        }
        let scratch = Scratch::new();
        let Some(brief) = brief(&scratch) else { skip!("gcc is not installed") };
        let spawn = compile_c(&scratch, "gcc", "spawn.c", &["-pthread"]).unwrap();
        let values = Values::seed(Bao::shared());
        // The parent has a clean block of its own: only what exec brings can be seen.
        let assignments = ["PASSWORD", "URL"]
            .map(|name| format!("{name}={}", String::from_utf8_lossy(values.expected(name))));
        let code = "import os, sys
env = dict(line.split('=', 1) for line in sys.stdin.read().splitlines())
for _ in range(300):
    pid = os.posix_spawn(sys.argv[1], sys.argv[1:], env)
    assert os.waitpid(pid, 0)[1] == 0";
        let Some(python) = on_path("python3") else { skip!("python3 is not installed") };
        drop(spawn);
        let launch = Launch::bare();
        let (output, watched) = EnvironWatcher::during(&values.needles(), || {
            let app: [OsString; 4] = [python.into(), "-c".into(), code.into(), brief.into()];
            let mut running = launch.spawn(app);
            running.write(assignments.join("\n").as_bytes());
            running.close_stdin();
            running.wait()
        });
        drop(output.ok());
        report(&watched);
        assert!(watched.hit_processes.len() > 3, "too slow to see an exec: {watched:?}");
    }
}
