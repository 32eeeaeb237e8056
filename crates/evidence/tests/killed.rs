//! A log that is killed under load, again and again: no receipt that was acknowledged is lost.

#[cfg(test)]
mod killed {
    use std::{
        env,
        fs::{self, File},
        io::{Read as _, Write as _},
        path::Path,
        process::{Command, Stdio},
        time::{Duration, Instant},
    };

    use cloudtaser_core::level::Verdict;
    use cloudtaser_evidence::{
        Digest, Draft, Log,
        log::Options,
        note::{KeyKind, Signer},
        policy::Policy,
        receipt::{Assurance, Decision, Name, Rows, SecretEntry, Workload},
        tiles::Tiles,
        verify::{self, Given},
    };

    /// Set in the child: the folder of its log.
    const CHILD: &str = "CLOUDTASER_KILLED_LOG";
    const KILLS: usize = 200;
    /// The whole test ends by then, whatever the disk does.
    const BOUND: Duration = Duration::from_secs(55);
    const THREADS: usize = 8;

    fn signer() -> Signer {
        Signer::from_seed("log.example/killed", KeyKind::Log, &[5; 32]).unwrap()
    }

    fn policy() -> Policy {
        format!("log {}\nquorum none\n", signer().verifier()).parse().unwrap()
    }

    fn name(text: &str) -> Name {
        Name::try_from(text).unwrap()
    }

    fn draft(thread: usize) -> Draft {
        Draft {
            cluster: name(&format!("cluster-{}", thread % 3)),
            workload: Workload {
                namespace: name("shop"),
                service_account: name("api"),
                pod: name("0a1b2c3d-0000-4000-8000-000000000001"),
            },
            role: name("shop"),
            secrets: vec![SecretEntry { name: Digest::of(b"n"), version: Some(1), request: None }],
            policy: Digest::of(b"policy"),
            protection: Rows::new([Verdict::Open; 6]),
            assurance: Assurance::L0,
            wrapper: None,
            session: Digest::of(b"session"),
            evidence: None,
            decision: Decision::Released,
            bridge: None,
            key_exchange: None,
            sealing: None,
            orders: None,
        }
    }

    /// Appends until it is killed; tells of each receipt once it was acknowledged. 40 bytes each:
    /// position and leaf hash, which a pipe takes whole or not at all.
    #[test]
    fn child() {
        let Some(folder) = env::var_os(CHILD) else { return };
        // A short journal, so that many kills meet the change to a new one.
        let options = Options::default().journal_bytes(100_000);
        let log = Log::open(Path::new(&folder), signer(), options).unwrap();
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let log = &log;
                scope.spawn(move || {
                    loop {
                        let appended = log.append(draft(thread)).unwrap();
                        let mut told = appended.index.to_be_bytes().to_vec();
                        told.extend_from_slice(Digest::leaf(&appended.leaf).as_bytes());
                        std::io::stderr().write_all(&told).unwrap();
                    }
                });
            }
        });
    }

    /// Starts a child, kills it after a while, and takes what it acknowledged.
    fn killed_after(folder: &Path, pause: Duration) -> Vec<(u64, Digest)> {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "killed::child", "--nocapture", "--test-threads=1"])
            .env(CHILD, folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut pipe = child.stderr.take().unwrap();
        let reader = std::thread::spawn(move || {
            let mut told = Vec::new();
            pipe.read_to_end(&mut told).unwrap();
            told
        });
        std::thread::sleep(pause);
        child.kill().unwrap();
        child.wait().unwrap();
        let told = reader.join().unwrap();
        let one = |bytes: &[u8]| {
            let index = u64::from_be_bytes(bytes[..8].try_into().unwrap());
            (index, Digest::from_slice(&bytes[8..]).unwrap())
        };
        told.chunks_exact(40).map(one).collect()
    }

    /// Random enough, and the same in each run of one seed.
    fn next(seed: &mut u64) -> u64 {
        *seed ^= *seed << 13;
        *seed ^= *seed >> 7;
        *seed ^= *seed << 17;
        *seed
    }

    #[test]
    fn no_acknowledged_receipt_is_lost_however_often_the_log_is_killed() {
        let folder = tempfile::tempdir().unwrap();
        let begun = Instant::now();
        let mut seed = u64::from(std::process::id()) | 1;
        println!("seed {seed}");
        let (mut acknowledged, mut kills, mut cut) = (Vec::new(), 0, 0);
        while kills < KILLS && begun.elapsed() < BOUND {
            let pause = Duration::from_micros(5_000 + next(&mut seed) % 150_000);
            acknowledged.extend(killed_after(folder.path(), pause));
            kills += 1;
            if kills % 20 == 0 {
                let log = Log::open(folder.path(), signer(), Options::default()).unwrap();
                cut += usize::from(log.cut_bytes() > 0);
            }
        }
        drop(Log::open(folder.path(), signer(), Options::default()).unwrap());
        let report = verify::folder(folder.path(), &policy(), &Given::default()).unwrap();
        println!(
            "{kills} kills, {} acknowledged, {} logged, {cut} of the {} looked at were cut, {:?}",
            acknowledged.len(),
            report.size,
            kills / 20,
            begun.elapsed()
        );
        let journal = fs::metadata(folder.path().join("journal")).unwrap().len();
        assert!(report.size < 600 || journal < 300_000, "the journal was begun anew: {journal}");
        assert!(kills >= KILLS.min(20), "the machine is too slow for this test: {kills} kills");
        assert!(!acknowledged.is_empty(), "no child ever acknowledged anything");
        assert!(report.tally.whole_log && report.tally.missing() == 0);
        let tiles = Tiles::new(folder.path(), report.size);
        let mut leaves = Vec::new();
        for bundle in 0..tiles.bundles() {
            leaves.extend(tiles.entries(bundle).unwrap().iter().map(|entry| Digest::leaf(entry)));
        }
        for (index, leaf) in acknowledged {
            assert_eq!(leaves.get(usize::try_from(index).unwrap()), Some(&leaf), "receipt {index}");
        }
    }

    /// A small file system of its own, as root.
    struct Tmpfs(tempfile::TempDir);

    impl Tmpfs {
        fn new(options: &str) -> Option<Self> {
            let folder = tempfile::tempdir().unwrap();
            let mounted = Command::new("mount")
                .args(["-t", "tmpfs", "-o", options, "tmpfs"])
                .arg(folder.path())
                .stderr(Stdio::null())
                .status();
            mounted.is_ok_and(|status| status.success()).then_some(Self(folder))
        }

        fn remount(&self, options: &str) {
            let status = Command::new("mount").args(["-o", options]).arg(self.0.path()).status();
            assert!(status.unwrap().success());
        }
    }

    impl Drop for Tmpfs {
        fn drop(&mut self) {
            let _unmounted = Command::new("umount").arg("-l").arg(self.0.path()).status();
        }
    }

    #[test]
    fn a_full_disk_stops_releases_and_room_lets_them_go_on() {
        let Some(disk) = Tmpfs::new("size=2m") else {
            println!("SKIP: a small tmpfs cannot be mounted here (root is needed)");
            return;
        };
        let folder = disk.0.path().join("log");
        let log = Log::open(&folder, signer(), Options::default()).unwrap();
        log.append(draft(0)).unwrap();
        let filler = disk.0.path().join("filler");
        let mut file = File::create(&filler).unwrap();
        while file.write_all(&[0; 4096]).is_ok() {}
        drop(file);
        let mut kept = 1;
        let error = loop {
            match log.append(draft(0)) {
                Ok(appended) => kept = appended.index + 1,
                Err(error) => break error,
            }
            assert!(kept < 100_000, "the disk is never full");
        };
        let chain = format!("{error}: {}", std::error::Error::source(&error).unwrap());
        assert!(chain.contains("cannot be written") && chain.contains("No space left"), "{chain}");
        log.append(draft(0)).unwrap_err();
        fs::remove_file(&filler).unwrap();
        let next = log.append(draft(0)).unwrap();
        assert_eq!(next.index, kept, "what was refused is not in the log");
        drop(log);
        let report = verify::folder(&folder, &policy(), &Given::default()).unwrap();
        assert_eq!(report.size, kept + 1);
    }

    #[test]
    fn a_disk_that_became_read_only_stops_releases() {
        let Some(disk) = Tmpfs::new("size=2m") else {
            println!("SKIP: a small tmpfs cannot be mounted here (root is needed)");
            return;
        };
        let folder = disk.0.path().join("log");
        drop(Log::open(&folder, signer(), Options::default()).unwrap().append(draft(0)).unwrap());
        disk.remount("remount,ro");
        let error = Log::open(&folder, signer(), Options::default()).unwrap_err();
        let chain = format!("{error}: {}", std::error::Error::source(&error).unwrap());
        assert!(chain.contains("Read-only file system"), "{chain}");
        disk.remount("remount,rw");
        let log = Log::open(&folder, signer(), Options::default()).unwrap();
        assert_eq!(log.append(draft(0)).unwrap().index, 1);
    }
}
