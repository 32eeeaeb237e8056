//! What root can read of a process whose heap is sealed: nothing of it, and of a heap that could
//! not be sealed, nothing that was freed.

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::io::{BufRead, BufReader, Write};
    use std::os::unix::fs::FileExt;
    use std::path::PathBuf;
    use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

    const PATTERN_BYTES: u32 = 600;

    struct Subject {
        child: Child,
        input: ChildStdin,
        output: BufReader<ChildStdout>,
    }

    struct Stage {
        address: usize,
        sealed: usize,
        ordinary: usize,
        refused: i32,
    }

    impl Subject {
        fn start(args: &[&str]) -> Self {
            let mut child = Command::new(example("heap_canary"))
                .args(args)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let input = child.stdin.take().unwrap();
            let output = BufReader::new(child.stdout.take().unwrap());
            Self { child, input, output }
        }

        fn stage(&mut self, name: &str) -> Stage {
            let mut line = String::new();
            self.output.read_line(&mut line).unwrap();
            let fields: Vec<_> = line.split_whitespace().collect();
            assert_eq!(fields[0], name, "{line}");
            Stage {
                address: usize::from_str_radix(fields[1], 16).unwrap(),
                sealed: fields[3].parse().unwrap(),
                ordinary: fields[4].parse().unwrap(),
                refused: fields[5].parse().unwrap(),
            }
        }

        fn go_on(&mut self) {
            self.input.write_all(b"\n").unwrap();
        }

        fn maps(&self) -> Vec<Mapping> {
            let text = fs::read_to_string(format!("/proc/{}/maps", self.child.id())).unwrap();
            text.lines().map(Mapping::parse).collect()
        }

        /// Copies of the pattern in all readable memory, known by a piece that no growth cuts off.
        fn copies(&self) -> usize {
            let memory = File::open(format!("/proc/{}/mem", self.child.id())).unwrap();
            let pattern: Vec<u8> = (1..=PATTERN_BYTES).map(pattern_byte).collect();
            let needle = &pattern[32..96];
            self.maps().iter().map(|mapping| count(&mapping.read(&memory), needle)).sum()
        }
    }

    impl Drop for Subject {
        fn drop(&mut self) {
            drop(self.child.kill());
            drop(self.child.wait());
        }
    }

    struct Mapping {
        from: usize,
        to: usize,
        name: String,
    }

    impl Mapping {
        fn parse(line: &str) -> Self {
            let mut fields = line.split_whitespace();
            let (from, to) = fields.next().unwrap().split_once('-').unwrap();
            let address = |text| usize::from_str_radix(text, 16).unwrap();
            Self {
                from: address(from),
                to: address(to),
                name: fields.nth(4).unwrap_or("").to_owned(),
            }
        }

        fn read(&self, memory: &File) -> Vec<u8> {
            let mut bytes = vec![0; self.to - self.from];
            let mut filled = 0;
            // Page by page past an error: one unreadable page must not hide the next.
            while filled < bytes.len() {
                match memory.read_at(&mut bytes[filled..], (self.from + filled) as u64) {
                    Ok(0) | Err(_) => filled = (filled / 4096 + 1) * 4096,
                    Ok(read) => filled += read,
                }
            }
            bytes
        }
    }

    fn count(haystack: &[u8], needle: &[u8]) -> usize {
        haystack.windows(needle.len()).filter(|window| window == &needle).count()
    }

    fn pattern_byte(index: u32) -> u8 {
        let [.., byte] = index.wrapping_mul(2_654_435_761).to_le_bytes();
        byte
    }

    /// Examples are built next to the tests.
    fn example(name: &str) -> PathBuf {
        let test = std::env::current_exe().unwrap();
        let path = test.parent().unwrap().parent().unwrap().join("examples").join(name);
        assert!(path.exists(), "cargo build --examples first");
        path
    }

    fn is_root() -> bool {
        if nix::unistd::geteuid().is_root() {
            return true;
        }
        println!("SKIP: scanning another process needs root");
        false
    }

    #[test]
    fn root_finds_no_copy_in_a_sealed_heap() {
        if !is_root() {
            return;
        }
        let mut subject = Subject::start(&[]);
        let held = subject.stage("held");
        if held.refused != 0 {
            println!("SKIP: sealed memory refused with errno {}", held.refused);
            return;
        }
        assert_eq!(held.ordinary, 0);
        let maps = subject.maps();
        let home = maps.iter().find(|map| (map.from..map.to).contains(&held.address)).unwrap();
        assert!(home.name.starts_with("/secretmem"), "the pattern lives in {}", home.name);
        let sealed: usize = maps
            .iter()
            .filter(|map| map.name.starts_with("/secretmem"))
            .map(|map| map.to - map.from)
            .sum();
        assert_eq!(sealed, held.sealed);
        assert_eq!(subject.copies(), 0);
    }

    #[test]
    fn a_refused_heap_says_so_and_keeps_nothing_that_was_freed() {
        if !is_root() {
            return;
        }
        let mut subject = Subject::start(&["refused"]);
        let held = subject.stage("held");
        assert_eq!((held.sealed, held.refused), (0, libc::EPERM));
        assert!(held.ordinary > 0);
        // The live copy proves that the scan finds what is there; one only, since growth moved it often.
        assert_eq!(subject.copies(), 1);
        subject.go_on();
        subject.stage("freed");
        assert_eq!(subject.copies(), 0);
    }
}
