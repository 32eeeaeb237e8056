//! Secret files are on no file system: the app opens them by path, nobody else finds them, and
//! their bytes are in ordinary memory only while somebody has one open.

#[cfg(test)]
mod common;

#[cfg(test)]
mod tests {
    use std::{fs, path::Path, thread, time::Duration};

    use cloudtaser_e2e::{
        Bao, Launch, Scratch, User, canary, compile_c, fixture, is_root, on_path, scan, skip,
    };
    use nix::sys::signal::Signal;
    use serde_json::json;

    use super::common::{eventually, level, refused};

    const FILE: &str = "/run/cloudtaser/key.pem";

    /// A secret and a launch whose app finds it in [`FILE`].
    fn secret_file(path: &str) -> (String, Launch) {
        let bao = Bao::shared();
        let value = format!("-----BEGIN-----\n{}\n-----END-----\n", canary());
        bao.put(path, &json!({ "key": value }));
        let launch = Launch::wrapped(bao)
            .env("LC_ALL", "C.UTF-8")
            .flag(format!("--file=key.pem=vault:secret/data/{path}#key"));
        (value, launch)
    }

    fn users() -> &'static [User] {
        if is_root() && on_path("setpriv").is_some() {
            &[User::Same, User::Unprivileged]
        } else {
            &[User::Same]
        }
    }

    /// Demands that a program writes the file to its standard output.
    #[track_caller]
    fn reads(launch: &Launch, value: &str, app: &[&str]) {
        for user in users() {
            println!("as {user:?}: {app:?}");
            let output = launch.clone().user(*user).run(app).ok();
            assert_eq!(output.text(), value, "{}", output.stderr);
        }
    }

    #[test]
    fn programs_of_every_kind_read_it() {
        let (value, launch) = secret_file("files/kinds");
        let node = "const f=require('fs'), p=process.argv[1];\
                    const s=f.readFileSync(p,'utf8'); if (f.statSync(p).size!==s.length) throw 1;\
                    f.readFile(p,'utf8',(e,t)=>{ if (e||t!==s) throw e; process.stdout.write(t) })";
        let python = "import os,sys,mmap\np=sys.argv[1]\ns=open(p).read()\n\
                      assert os.path.isfile(p) and os.access(p, os.R_OK) and os.stat(p).st_size==len(s)\n\
                      f=os.open(p,os.O_RDONLY|os.O_NOFOLLOW)\n\
                      assert mmap.mmap(f,0,prot=mmap.PROT_READ)[:].decode()==s\n\
                      assert os.fstat(f).st_ino==os.stat(p).st_ino==os.lstat(p).st_ino\n\
                      sys.stdout.write(s)";
        let programs: &[&[&str]] = &[
            &["cat", FILE],
            &["bash", "-c", "cat <\"$0\"", FILE],
            &["bash", "-c", "printf '%s\\n' \"$(<$0)\"", FILE],
            &["sh", "-c", "test -f $0 && test -r $0 && exec cat $0", FILE],
            &["dd", "status=none", "if=/run/cloudtaser/key.pem", "bs=7"],
            &["busybox", "cat", FILE],
            &["perl", "-pe", "", FILE],
            &["python3", "-c", python, FILE],
            &["node", "-e", node, FILE],
            &["tail", "-c", "+1", FILE],
            &["sh", "-c", "cat $0 $0 | head -n 3", FILE],
        ];
        for program in programs {
            match on_path(program[0]) {
                Some(_) => reads(&launch, &value, program),
                None => println!("SKIP: {} is not installed", program[0]),
            }
        }
    }

    #[test]
    fn compiled_programs_read_it() {
        let (value, launch) = secret_file("files/compiled");
        let scratch = Scratch::new();
        for (compiler, flags) in
            [("gcc", &[][..]), ("gcc", &["-static"]), ("musl-gcc", &["-static"])]
        {
            match compile_c(&scratch, compiler, "copy.c", flags) {
                Some(app) => reads(&launch, &value, &[app.to_str().unwrap(), FILE]),
                None => println!("SKIP: {compiler} is not installed"),
            }
        }
        if on_path("javac").is_some() {
            let java = fixture("Copy.java");
            reads(&launch, &value, &["java", "-Xmx64m", java.to_str().unwrap(), FILE]);
        } else {
            println!("SKIP: javac is not installed");
        }
    }

    #[test]
    fn it_can_be_copied_by_programs_that_look_before_they_open() {
        let (value, launch) = secret_file("files/copied");
        let scratch = Scratch::new();
        for user in users() {
            let copy = scratch.path().join(format!("{user:?}"));
            fs::create_dir(&copy).unwrap();
            fs::set_permissions(&copy, std::os::unix::fs::PermissionsExt::from_mode(0o777))
                .unwrap();
            let copy = copy.join("copy");
            let copied = launch.clone().user(*user).run(["cp", FILE, copy.to_str().unwrap()]).ok();
            assert_eq!(copied.stderr, "");
            assert_eq!(fs::read_to_string(&copy).unwrap(), value);
        }
    }

    #[test]
    fn every_way_to_write_its_path_leads_there() {
        let (value, launch) = secret_file("files/paths");
        let at = "import os,sys\nd=os.open('/run',os.O_PATH)\n\
                  f=os.open('cloudtaser/key.pem',os.O_RDONLY,dir_fd=d)\nos.write(1,os.read(f,999))";
        let link = "cd \"$0\" && ln -s /run run && cat \"$0/run/cloudtaser/key.pem\"";
        let scratch = Scratch::new();
        let ways: &[&[&str]] = &[
            &["sh", "-c", "cd / && cat run/cloudtaser/key.pem"],
            &["sh", "-c", "cd /run && cat cloudtaser/key.pem"],
            &["sh", "-c", "cd /run && cat ./cloudtaser/./key.pem"],
            &["sh", "-c", "cd /usr && cat ../run/cloudtaser/key.pem"],
            &["cat", "//run//cloudtaser/key.pem"],
            &["python3", "-c", at],
        ];
        for way in ways {
            reads(&launch, &value, way);
        }
        if fs::canonicalize("/var/run").is_ok_and(|run| run == Path::new("/run")) {
            reads(&launch, &value, &["cat", "/var/run/cloudtaser/key.pem"]);
        }
        let dir = scratch.path().to_str().unwrap();
        let output = launch.run(["sh", "-c", link, dir]).ok();
        assert_eq!(output.text(), value);
    }

    #[test]
    fn descendants_read_it_and_nobody_else_finds_it() {
        let (value, launch) = secret_file("files/family");
        let script = "(sh -c 'cat $0' $0; sleep 30) & wait";
        let mut running = launch.spawn(["sh", "-c", script, FILE]);
        running.until_stdout("the file", |out| out.len() >= value.len());
        assert_eq!(String::from_utf8_lossy(&running.stdout()), value);
        assert!(!Path::new(FILE).exists(), "it is on a file system");
        let outside = format!("/proc/{}/root{FILE}", running.pid());
        assert!(!Path::new(&outside).exists(), "it is on the app's file system");
        running.signal(Signal::SIGTERM);
        running.wait();
    }

    #[test]
    fn neighbours_and_other_files_are_as_they_were() {
        let (value, launch) = secret_file("files/neighbours");
        let scratch = Scratch::new();
        let own = scratch.file("key.pem", "my own", 0o644);
        let script = "cat /run/cloudtaser/other 2>/dev/null && exit 3\n\
                      cat /run/cloudtaser/key.pem/ 2>/dev/null && exit 4\n\
                      cat /key.pem 2>/dev/null && exit 5\n\
                      test -d /run && test -e /etc/passwd || exit 6\n\
                      test \"$(cd \"$1\" && cat key.pem)\" = 'my own' || exit 7\n\
                      test \"$(cat \"$1/key.pem\")\" = 'my own' || exit 8\n\
                      cat $0";
        let own = own.parent().unwrap().to_str().unwrap();
        let output = launch.run(["sh", "-c", script, FILE, own]).ok();
        assert_eq!(output.text(), value);
    }

    #[test]
    fn it_cannot_be_written() {
        let (value, launch) = secret_file("files/write");
        let script = "import os,errno\np='/run/cloudtaser/key.pem'\n\
            def no(f,*e):\n  try: f()\n  except OSError as x: assert x.errno in e, x\n  else: raise SystemExit(9)\n\
            no(lambda: os.open(p,os.O_WRONLY), errno.EACCES)\n\
            no(lambda: os.open(p,os.O_RDWR), errno.EACCES)\n\
            no(lambda: os.open(p,os.O_RDONLY|os.O_TRUNC), errno.EACCES)\n\
            no(lambda: os.open(p,os.O_WRONLY|os.O_CREAT|os.O_EXCL), errno.EEXIST)\n\
            no(lambda: os.open(p,os.O_DIRECTORY), errno.ENOTDIR)\n\
            no(lambda: os.readlink(p), errno.EINVAL)\n\
            assert not os.access(p,os.W_OK) and not os.access(p,os.X_OK) and os.access(p,os.F_OK)\n\
            f=os.open(p,os.O_RDONLY)\n\
            no(lambda: os.write(f,b'x'), errno.EBADF)\n\
            os.fchmod(f,0o600)\n\
            w=os.open('/proc/self/fd/%d'%f,os.O_RDWR)\n\
            no(lambda: os.write(w,b'x'), errno.EPERM)\n\
            no(lambda: os.ftruncate(w,1), errno.EPERM)\n\
            os.write(1,open(p,'rb').read())";
        reads(&launch, &value, &["python3", "-c", script]);
    }

    #[test]
    fn its_bytes_are_in_ordinary_memory_only_while_it_is_open() {
        if !is_root() {
            skip!("reading other processes takes root");
        }
        let (value, launch) = secret_file("files/memory");
        // The canary alone, so that the search is not for the frame around it.
        let needle = value.lines().nth(1).unwrap();
        let script = "exec 7<$0; echo open; read x; exec 7<&-; echo closed; read x";
        let mut running = launch.spawn(["dash", "-c", script, FILE]);
        running.until_stdout("open", |out| out == b"open\n");
        let (wrapper, app) = (running.pid(), running.app());
        let shown = fs::read_to_string(format!("/proc/{app}/fd/7")).unwrap();
        assert_eq!(shown, value, "root reads an open file, and the level says so");
        assert_eq!(holders(wrapper, needle), 2, "the control finds it");
        let held = fs::File::open(format!("/proc/{app}/fd/7")).unwrap();
        running.write(b"\n");
        running.until_stdout("closed", |out| out.ends_with(b"closed\n"));
        // Our own opening counts like any other: the file stays until it is gone.
        thread::sleep(Duration::from_millis(50));
        assert_eq!(holders(wrapper, needle), 2, "dropped under a reader");
        drop(held);
        eventually("the bytes are gone", || holders(wrapper, needle) == 0);
        assert_eq!(scan(wrapper, needle.as_bytes()).shown(), "");
        assert_eq!(scan(app, needle.as_bytes()).shown(), "");
        running.write(b"\n");
        assert!(running.wait().status.success());
    }

    /// How many descriptors of a process lead to a file that holds the needle.
    fn holders(pid: i32, needle: &str) -> usize {
        let all = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
        all.filter(|entry| {
            let path = entry.as_ref().unwrap().path();
            let is_ours = fs::read_link(&path)
                .is_ok_and(|to| to.to_string_lossy().starts_with("/memfd:cloudtaser-file"));
            is_ours && fs::read_to_string(&path).is_ok_and(|text| text.contains(needle))
        })
        .count()
    }

    #[test]
    fn a_value_is_not_in_memory_before_anyone_opens_it() {
        if !is_root() {
            skip!("reading other processes takes root");
        }
        let (value, launch) = secret_file("files/unopened");
        let needle = value.lines().nth(1).unwrap();
        let mut running = launch.spawn(["sh", "-c", "stat -c %s $0; read x", FILE]);
        running.until_stdout("its size", |out| out.ends_with(b"\n"));
        assert_eq!(String::from_utf8_lossy(&running.stdout()).trim(), value.len().to_string());
        assert_eq!(scan(running.pid(), needle.as_bytes()).shown(), "");
        assert_eq!(holders(running.pid(), needle), 0);
        running.write(b"\n");
        assert!(running.wait().status.success());
    }

    #[test]
    fn a_new_value_is_what_is_opened_next() {
        let (first, launch) = secret_file("files/rotation");
        let launch = launch
            .without_flag("--quiet")
            .env("CLOUDTASER_ROTATE_EVERY", "300ms")
            .env("CLOUDTASER_ROTATE_ACTION", "in-place");
        let script = "exec 7<$0; echo ready; while read x; do cat $0; done; cat <&7";
        let mut running = launch.spawn(["sh", "-c", script, FILE]);
        running.until_stdout("ready", |out| out == b"ready\n");
        let next = format!("{}-and longer than before", canary());
        Bao::shared().put("files/rotation", &json!({ "key": next }));
        running.until_stderr("values changed and were written in place");
        assert!(running.stderr().contains("names: [\"file key.pem\"]"), "{}", running.stderr());
        running.write(b"\n");
        running.until_stdout("the new value", |out| out.ends_with(next.as_bytes()));
        running.close_stdin();
        let output = running.wait();
        assert!(output.status.success());
        assert!(output.text().ends_with(&first), "who has it open keeps what it opened");
    }

    #[test]
    fn many_at_once_open_many_files() {
        let (value, launch) = secret_file("files/many");
        let script = "import threading,sys,os\np='/run/cloudtaser/key.pem'\nv=open(p).read()\nbad=[]\n\
            def work():\n  for i in range(200):\n    \
            (open(p).read()==v and open('/etc/hostname') and os.stat(p)) or bad.append(1)\n\
            ts=[threading.Thread(target=work) for _ in range(8)]\n\
            pids=[]\n\
            for _ in range(3):\n  pid=os.fork()\n  if pid==0:\n    work(); os._exit(len(bad)>0)\n  pids.append(pid)\n\
            [t.start() for t in ts]; [t.join() for t in ts]\n\
            assert all(os.waitpid(p,0)[1]==0 for p in pids)\n\
            assert not bad\nsys.stdout.write(v)";
        reads(&launch, &value, &["python3", "-c", script]);
    }

    #[test]
    fn values_that_no_variable_can_hold_are_files() {
        let bao = Bao::shared();
        bao.put("files/zero", &json!({ "bytes": "a\u{0}b", "none": "" }));
        let launch = Launch::wrapped(bao)
            .flag("--file=bytes=vault:secret/data/files/zero#bytes")
            .flag("--file=none=vault:secret/data/files/zero#none");
        let output = launch.run(["cat", "/run/cloudtaser/bytes", "/run/cloudtaser/none"]).ok();
        assert_eq!(output.stdout, b"a\0b");
        let refused_as_variable =
            Launch::wrapped(bao).env("S", "vault:secret/data/files/zero#bytes");
        let output = refused_as_variable.run(["true"]);
        assert!(output.stderr.contains("deliver it as a file"), "{}", output.stderr);
    }

    #[test]
    fn files_and_variables_come_together_in_every_image() {
        let (value, launch) = secret_file("files/both");
        let launch = launch.env("S", "vault:secret/data/files/both#key");
        let script = "exec sh -c '[ \"$S\" = \"$(cat $0)\n\" ] && cat $0' $0";
        reads(&launch, &value, &["sh", "-c", script, FILE]);
    }

    #[test]
    fn the_level_says_what_a_file_is_worth() {
        let (_, launch) = secret_file("files/level");
        let output = launch.clone().without_flag("--quiet").run(["true"]).ok();
        let level = level(&output.stderr);
        assert_eq!(level["facets"]["memory"], "transient");
        let denied = launch.clone().flag("--require=memory=sealed").run(["echo", "started"]);
        refused(&denied, 77, &["memory=sealed is required, memory=transient is what"]);
        let denied = launch.env("CLOUDTASER_DELIVERY", "one-shot").run(["echo", "started"]);
        refused(&denied, 77, &["secret files (which need exec-follow)"]);
    }

    #[test]
    fn a_file_that_is_no_reference_or_no_name_is_told_before_anything_is_fetched() {
        let launch = Launch::wrapped_bare().env("VAULT_ADDR", "http://127.0.0.1:1");
        let output = launch.clone().flag("--file=k=hunter2").run(["echo", "started"]);
        refused(&output, 64, &["file k: a reference is needed"]);
        let output = launch.flag("--file=a/b=vault:x/y#z").run(["echo", "started"]);
        refused(&output, 64, &["file a/b: a name without / is needed"]);
    }
}
