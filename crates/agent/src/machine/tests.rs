use std::cell::{Cell, RefCell};

use super::*;

/// A report and a quote of real machines, for which other statements were made.
const SNP: &str = include_str!("../../../evidence/tests/vectors/report_milan.hex");
const QUOTE: &[u8] = include_bytes!("../../../evidence/tests/vectors/tdx_quote");
const ASK: &[u8] = include_bytes!("../../../evidence/tests/vectors/ask_milan.der");
const VCEK: &[u8] = include_bytes!("../../../evidence/tests/vectors/vcek_milan.der");

fn snp() -> Vec<u8> {
    let digits: Vec<u8> = SNP.bytes().filter(u8::is_ascii_hexdigit).collect();
    data_encoding::HEXLOWER_PERMISSIVE.decode(&digits).unwrap()
}

/// The table of a host, with AMD's two certificates.
fn table() -> Vec<u8> {
    let certificates = cloudtaser_evidence::attest::snp::Certificates {
        ask: ASK.to_vec(),
        vek: VCEK.to_vec(),
        crl: None,
    };
    certificates.to_table()
}

/// A folder with the files that the kernel's document names. Only what the kernel does to them is
/// done here: entries get their files, a write counts, and a report is there once something was
/// written. Each can go wrong once or always.
struct Double {
    provider: &'static str,
    report: Vec<u8>,
    table: Option<Vec<u8>>,
    /// What becomes of the next reads of a report.
    then: RefCell<Vec<Fault>>,
    asked: Cell<u32>,
    written: RefCell<Vec<Vec<u8>>>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Fault {
    /// The firmware has no time.
    Busy,
    /// Only a part comes.
    Short,
    /// Somebody else writes into the same entry before the report is read.
    OtherBefore,
    /// And after it.
    OtherAfter,
    /// What was written is not taken, and nobody is told.
    NotTaken,
}

impl Double {
    fn new(provider: &'static str, report: Vec<u8>, then: &[Fault]) -> Self {
        let then = RefCell::new(then.iter().rev().copied().collect());
        let (asked, written) = (Cell::new(0), RefCell::default());
        Self { provider, report, table: Some(table()), then, asked, written }
    }

    fn count(&self, folder: &Path) {
        let file = folder.join("generation");
        let before: u64 = fs::read_to_string(&file).unwrap().trim().parse().unwrap();
        fs::write(file, format!("{}\n", before + 1)).unwrap();
    }
}

impl Files for &Double {
    fn make(&self, folder: &Path) -> io::Result<()> {
        Kernel.make(folder)?;
        fs::write(folder.join("provider"), format!("{}\n", self.provider))?;
        fs::write(folder.join("generation"), "0\n")?;
        fs::write(folder.join("inblob"), "")?;
        fs::write(folder.join("outblob"), "")?;
        self.table.iter().try_for_each(|table| fs::write(folder.join("auxblob"), table))
    }

    fn remove(&self, folder: &Path) -> io::Result<()> {
        // The kernel's files go with their entry.
        fs::read_dir(folder)?.try_for_each(|file| fs::remove_file(file?.path()))?;
        Kernel.remove(folder)
    }

    fn read(&self, file: &Path, most: usize) -> io::Result<Vec<u8>> {
        let folder = file.parent().unwrap();
        if !file.ends_with("outblob") {
            return Kernel.read(file, most);
        }
        let fault = self.then.borrow_mut().pop();
        self.asked.set(self.asked.get() + 1);
        match fault {
            Some(Fault::Busy) => return Err(Errno::EBUSY.into()),
            Some(Fault::Short) => fs::write(file, &self.report[..self.report.len() / 3])?,
            Some(Fault::OtherAfter) => self.count(folder),
            _ => {}
        }
        let read = Kernel.read(file, most);
        fs::write(file, &self.report)?;
        read
    }

    fn write(&self, file: &Path, bytes: &[u8]) -> io::Result<()> {
        let folder = file.parent().unwrap();
        Kernel.write(file, bytes)?;
        self.written.borrow_mut().push(fs::read(file)?);
        fs::write(folder.join("outblob"), &self.report)?;
        let next = self.then.borrow().last().copied();
        if matches!(next, Some(Fault::OtherBefore | Fault::NotTaken)) {
            self.then.borrow_mut().pop();
        }
        if next != Some(Fault::NotTaken) {
            self.count(folder);
        }
        if next == Some(Fault::OtherBefore) {
            self.count(folder);
        }
        Ok(())
    }
}

fn asked(double: &Double) -> (anyhow::Result<Report>, usize) {
    let folder = tempfile::tempdir().unwrap();
    let mut machine = Machine::open(folder.path(), double).unwrap();
    let report = machine.report(&[7; 64]);
    (report, fs::read_dir(folder.path()).unwrap().count())
}

#[test]
fn a_report_is_what_the_kernel_gave_for_what_was_written() {
    for (provider, bytes) in [("sev_guest", snp()), ("tdx_guest", QUOTE.to_vec())] {
        let double = Double::new(provider, bytes.clone(), &[]);
        let (report, left) = asked(&double);
        let report = report.unwrap();
        assert_eq!((report.provider, report.report), (provider, bytes));
        assert_eq!(report.table, table());
        assert_eq!(*double.written.borrow(), [vec![7; 64]]);
        assert_eq!(left, 0, "entries are taken away");
    }
}

#[test]
fn a_kind_without_certificates_gives_none() {
    let double = Double { table: None, ..Double::new("tdx_guest", QUOTE.to_vec(), &[]) };
    assert_eq!(asked(&double).0.unwrap().table, b"");
}

#[test]
fn whoever_writes_in_between_or_has_no_time_is_met_with_another_try() {
    for fault in [Fault::Busy, Fault::Short, Fault::OtherBefore, Fault::OtherAfter, Fault::NotTaken]
    {
        let double = Double::new("sev_guest", snp(), &[fault]);
        let (report, left) = asked(&double);
        assert_eq!(report.unwrap().report, snp(), "{fault:?}");
        assert_eq!(double.written.borrow().len(), 2, "{fault:?}: written anew");
        assert_eq!(left, 0, "{fault:?}");
        let always = Double::new("sev_guest", snp(), &[fault; 4]);
        let (report, left) = asked(&always);
        let why = format!("{:#}", report.unwrap_err());
        assert!(why.contains("tried 4 times"), "{fault:?}: {why}");
        assert_eq!(left, 0, "{fault:?}");
    }
}

#[test]
fn what_is_longer_than_any_report_is_none() {
    let double = Double::new("tdx_guest", vec![1; REPORT_MAX + 1], &[]);
    let (report, _) = asked(&double);
    assert!(is(&report.unwrap_err(), Errno::EFBIG));
    assert_eq!(double.asked.get(), 1, "it is as long the next time");
}

#[test]
fn a_kind_that_nobody_verifies_is_not_asked() {
    let folder = tempfile::tempdir().unwrap();
    let double = Double::new("arm_cca_guest", snp(), &[]);
    let Err(Absent::Unusable(error)) = Machine::open(folder.path(), &double) else { panic!() };
    assert!(error.to_string().contains("arm_cca_guest"), "{error}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

/// As on every machine that is none: no folder; or one behind which nobody has registered.
#[test]
fn a_machine_that_is_none_is_said_to_be_none() {
    struct Nobody;
    impl Files for Nobody {
        fn make(&self, _: &Path) -> io::Result<()> {
            Err(Errno::ENXIO.into())
        }
        fn remove(&self, _: &Path) -> io::Result<()> {
            unreachable!()
        }
        fn read(&self, _: &Path, _: usize) -> io::Result<Vec<u8>> {
            unreachable!()
        }
        fn write(&self, _: &Path, _: &[u8]) -> io::Result<()> {
            unreachable!()
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let none = Machine::open(&folder.path().join("tsm"), Kernel);
    assert!(matches!(none, Err(Absent::None(why)) if why.contains("configfs-tsm")));
    let none = Machine::open(folder.path(), Nobody);
    assert!(matches!(none, Err(Absent::None(why)) if why.contains("no confidential hardware")));
}

#[test]
fn an_entry_that_somebody_left_behind_is_taken_away() {
    let folder = tempfile::tempdir().unwrap();
    let double = Double::new("sev_guest", snp(), &[]);
    let left = folder.path().join(format!("cloudtaser-{}-1", std::process::id()));
    (&double).make(&left).unwrap();
    double.count(&left);
    assert!(Machine::open(folder.path(), &double).is_ok());
    assert!(!left.exists());
}
