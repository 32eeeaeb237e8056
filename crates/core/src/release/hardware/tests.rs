use super::*;

pub(in crate::release) fn report() -> Snp {
    Snp {
        measurement: [1; MEASUREMENT_LEN],
        chip: [2; CHIP_LEN],
        vmpl: 0,
        by_fleet: false,
        debug: false,
        migration: false,
        reported: Tcb { bootloader: 4, snp: 24, microcode: 219, ..Tcb::default() },
        committed: Tcb { bootloader: 4, snp: 24, microcode: 219, ..Tcb::default() },
    }
}

fn quote() -> Tdx {
    let measurements = TdxMeasurements {
        mr_td: Digits([1; 48]),
        rtmr: [2, 3, 4, 5].map(|byte| Digits([byte; 48])),
    };
    let status = "UpToDate".to_owned();
    Tdx { measurements, status, processor: vec![6; 16], migration: false }
}

pub(in crate::release) fn entry() -> HardwareFile {
    let snp = SnpFile { measurements: vec![Digits([1; 48])], ..SnpFile::default() };
    HardwareFile { name: "image-7".to_owned(), snp: Some(snp), ..HardwareFile::default() }
}

fn of_snp(change: impl FnOnce(&mut SnpFile), report: Snp) -> Result<Assurance, Refusal> {
    let mut entry = entry();
    change(entry.snp.as_mut().unwrap());
    entry.check(&Hardware::Snp(report))
}

fn of_tdx(change: impl FnOnce(&mut TdxFile), quote: Tdx) -> Result<Assurance, Refusal> {
    let measurements = vec![self::quote().measurements];
    let mut tdx = TdxFile { measurements, ..TdxFile::default() };
    change(&mut tdx);
    let entry = HardwareFile { tdx: Some(tdx), ..HardwareFile::default() };
    entry.check(&Hardware::Tdx(quote))
}

#[test]
fn an_entry_that_says_nothing_allows_nothing() {
    let nothing = |file: &mut SnpFile| *file = SnpFile::default();
    assert_eq!(of_snp(nothing, report()), Err(Refusal::Measurement));
    assert_eq!(of_tdx(|file| *file = TdxFile::default(), quote()), Err(Refusal::Measurement));
    assert_eq!(HardwareFile::default().check(&Hardware::Snp(report())), Err(Refusal::Kind));
    assert_eq!(entry().check(&Hardware::Tdx(quote())), Err(Refusal::Kind));
}

#[test]
fn a_report_of_snp_is_refused_by_each_line() {
    let with = |change: fn(&mut Snp)| {
        let mut report = report();
        change(&mut report);
        of_snp(|_| (), report)
    };
    assert_eq!(with(|_| ()), Ok(Assurance::L2));
    assert_eq!(with(|report| report.debug = true), Err(Refusal::Debug));
    assert_eq!(with(|report| report.migration = true), Err(Refusal::Migration));
    assert_eq!(with(|report| report.vmpl = 1), Err(Refusal::Privilege(1)));
    assert_eq!(with(|report| report.by_fleet = true), Err(Refusal::Fleet));
    assert_eq!(with(|report| report.measurement[47] ^= 1), Err(Refusal::Measurement));
    let newer = |file: &mut SnpFile| file.minimum.snp = 25;
    assert_eq!(of_snp(newer, report()), Err(Refusal::Firmware("SNP firmware")));
    let mut rolled_back = report();
    rolled_back.committed.microcode = 200;
    let least = |file: &mut SnpFile| file.minimum.microcode = 219;
    assert_eq!(of_snp(least, rolled_back), Err(Refusal::Firmware("microcode")));
    let elsewhere = |file: &mut SnpFile| file.chips = vec![Digits([9; 64])];
    assert_eq!(of_snp(elsewhere, report()), Err(Refusal::Processor));
    let fleet = |file: &mut SnpFile| file.fleet = Fleet::Accept;
    assert_eq!(of_snp(fleet, Snp { by_fleet: true, ..report() }), Ok(Assurance::L2));
}

#[test]
fn a_quote_of_tdx_is_refused_by_each_line() {
    assert_eq!(of_tdx(|_| (), quote()), Ok(Assurance::L2));
    assert_eq!(of_tdx(|_| (), Tdx { migration: true, ..quote() }), Err(Refusal::Migration));
    for register in 0..4 {
        let mut other = quote();
        other.measurements.rtmr[register].0[0] ^= 1;
        assert_eq!(of_tdx(|_| (), other), Err(Refusal::Measurement), "RTMR {register}");
    }
    let old = || Tdx { status: "OutOfDate".to_owned(), ..quote() };
    assert_eq!(of_tdx(|_| (), old()), Err(Refusal::Platform("OutOfDate".to_owned())));
    let tolerant = |file: &mut TdxFile| file.tolerated = vec!["OutOfDate".to_owned()];
    assert_eq!(of_tdx(tolerant, old()), Ok(Assurance::L2));
    let elsewhere = |file: &mut TdxFile| file.processors = vec![Digits([9; 16])];
    assert_eq!(of_tdx(elsewhere, quote()), Err(Refusal::Processor));
}

/// Only who knows all that runs in it, and whose chip it is, has more than the provider's word.
#[test]
fn the_third_level_needs_a_stack_of_the_customers_on_a_chip_that_is_known() {
    let reached = |stack, change: fn(&mut SnpFile)| {
        let mut entry = HardwareFile { stack, ..entry() };
        change(entry.snp.as_mut().unwrap());
        entry.check(&Hardware::Snp(report()))
    };
    let here = |file: &mut SnpFile| file.chips = vec![Digits([2; 64])];
    assert_eq!(reached(Stack::Own, here), Ok(Assurance::L3));
    assert_eq!(reached(Stack::Provider, here), Ok(Assurance::L2), "firmware of the provider's");
    assert_eq!(reached(Stack::Own, |_| ()), Ok(Assurance::L2), "any chip");
    let mut shared = HardwareFile { stack: Stack::Own, ..entry() };
    let file = shared.snp.as_mut().unwrap();
    (file.fleet, file.chips) = (Fleet::Accept, vec![Digits([2; 64])]);
    let by_fleet = Hardware::Snp(Snp { by_fleet: true, ..report() });
    assert_eq!(shared.check(&by_fleet), Ok(Assurance::L2), "the chip's name is not signed for");
}

#[test]
fn an_entry_is_written_in_digits_and_its_slips_are_told() {
    let digits = "07".repeat(48);
    let text = format!(
        r#"{{"name":"a","stack":"own","sev-snp":{{"measurements":["{digits}"],"minimum":{{"snp":24}}}}}}"#
    );
    let read: HardwareFile = serde_json::from_str(&text).unwrap();
    assert_eq!(read.slip(), None);
    assert_eq!(read.snp.unwrap().measurements, [Digits([7; 48])]);
    for odd in
        [text.replace("07", "7"), text.replace("07", "0A"), text.replace("snp\":24", "sn\":1")]
    {
        assert!(serde_json::from_str::<HardwareFile>(&odd).is_err(), "{odd}");
    }
    assert!(HardwareFile::default().slip().unwrap().contains("either"));
    let both = HardwareFile { tdx: Some(TdxFile::default()), ..entry() };
    assert!(both.slip().unwrap().contains("either"));
    let snp = Some(SnpFile::default());
    assert!(HardwareFile { snp, ..HardwareFile::default() }.slip().unwrap().contains("no measure"));
}
