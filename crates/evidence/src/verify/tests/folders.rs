//! Documents beside a log: held against its receipts as those in a bundle are.

use super::*;

fn whole(log: &Path) -> Result<Report, Refusal> {
    folder(log, &policy("none"), &Given::default())
}

/// Where the log keeps its one document.
fn document_of(log: &Path) -> PathBuf {
    let mut files = fs::read_dir(log.join(DOCUMENTS)).unwrap();
    files.next().unwrap().unwrap().path()
}

#[test]
fn what_a_node_signed_is_verified_in_a_folder_as_in_a_bundle() {
    let (log, bundle) = attested_log(|_| ());
    let (of_folder, of_bundle) = (whole(log.path()).unwrap(), judged(&bundle, "dpo").unwrap());
    assert_eq!((of_folder.tally.documents, of_folder.tally.attested), (1, 2));
    let json = |report: &Report| serde_json::to_value(&report.nodes).unwrap();
    assert_eq!(json(&of_folder), json(&of_bundle));
    let (overstated, _) = attested_log(|draft| draft.assurance = Assurance::L1);
    assert_eq!(standing(&whole(overstated.path()).unwrap(), "C4"), Standing::Fail);
    let other = Digest::of(b"other");
    for (what, log) in [
        ("another session", attested_log(|draft| draft.session = other).0),
        ("another recipient", attested_log(|draft| draft.sealing = None).0),
        ("another pod", attested_log(|draft| draft.workload.pod = name("another")).0),
    ] {
        let refused = whole(log.path());
        assert!(matches!(refused, Err(Refusal::Statement { .. })), "{what}: {refused:?}");
    }
}

#[test]
fn a_document_of_a_folder_that_was_changed_is_refused_and_one_that_is_gone_is_counted() {
    let (log, _) = attested_log(|_| ());
    let path = document_of(log.path());
    let bytes = fs::read(&path).unwrap();
    let other = node::tests::document(Digest::of(b"other"), Digest::of(b"sealing"));
    let mut bent = bytes.clone();
    bent[bytes.len() / 2] ^= 1;
    let long = [&bytes[..], &vec![0; DOCUMENT_MAX]].concat();
    for changed in [&bent[..], &bytes[1..], b"", &long, &other.to_bytes().unwrap()] {
        fs::write(&path, changed).unwrap();
        assert!(matches!(whole(log.path()), Err(Refusal::Changed(_))));
    }
    // One that cannot be read is neither here nor gone.
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert!(matches!(whole(log.path()), Err(Refusal::Read { .. })));
    fs::remove_dir(&path).unwrap();
    let report = whole(log.path()).unwrap();
    assert_eq!((report.tally.documents, report.tally.with_evidence), (0, 2));
    assert_eq!(report.tally.attested, 0);
    fs::write(&path, bytes).unwrap();
    assert_eq!(whole(log.path()).unwrap().tally.attested, 2);
}
