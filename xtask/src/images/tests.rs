//! Archives that are read back by others: `tar`, `sha256sum`, and, where they are, skopeo and runc.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use super::*;
use crate::command::find;

fn image(files: Vec<(&str, Vec<u8>)>) -> Image<'static> {
    let program = files.into_iter().map(|(name, bytes)| tar::Entry::program(name, bytes)).collect();
    Image {
        name: "cloudtaser-agent",
        title: "says \"x\"",
        version: "0.1.0",
        architecture: architecture().unwrap(),
        user: USER,
        reference: None,
        layers: vec![program, vec![tar::Entry::file("sbom.json", b"{}".to_vec())]],
    }
}

/// A folder that is removed at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("cloudtaser-{name}-{}", std::process::id()));
        drop(fs::remove_dir_all(&path));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn unpacked(name: &str, archive: &[u8]) -> Self {
        let scratch = Self::new(name);
        fs::write(scratch.0.join("a.tar"), archive).unwrap();
        scratch.run(Command::new("tar").args(["-xf", "a.tar"]));
        scratch
    }

    fn run(&self, command: &mut Command) -> String {
        let output = command.current_dir(&self.0).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

/// Every `"digest":"sha256:…","size":N` of a document.
fn descriptors(text: &str) -> Vec<(String, u64)> {
    text.split("\"digest\":\"sha256:")
        .skip(1)
        .map(|rest| {
            let (digest, rest) = rest.split_once('"').unwrap();
            let size = rest.strip_prefix(",\"size\":").unwrap();
            let end = size.find(|c: char| !c.is_ascii_digit()).unwrap();
            (digest.to_owned(), size.split_at(end).0.parse().unwrap())
        })
        .collect()
}

/// Follows digests from a document, and checks each blob by its own.
fn check(folder: &Path, document: &Path, seen: &mut Vec<String>) {
    let text = fs::read(document).unwrap();
    let Ok(text) = String::from_utf8(text) else { return };
    for (digest, size) in descriptors(&text) {
        let blob = folder.join("blobs/sha256").join(&digest);
        let bytes = fs::read(&blob).unwrap();
        assert_eq!(oci::sha256(&bytes).unwrap(), digest);
        assert_eq!(u64::try_from(bytes.len()).unwrap(), size);
        seen.push(digest);
        check(folder, &blob, seen);
    }
}

#[test]
fn every_digest_is_that_of_its_blob_and_no_blob_is_left_over() {
    let archive = image(vec![("a", b"one".to_vec()), ("b", vec![7; 1000])]).archive().unwrap();
    let scratch = Scratch::unpacked("digests", &archive);
    let mut seen = Vec::new();
    check(&scratch.0, &scratch.0.join("index.json"), &mut seen);
    // Manifest, configuration, two layers.
    assert_eq!(seen.len(), 4);
    let blobs = fs::read_dir(scratch.0.join("blobs/sha256")).unwrap().count();
    assert_eq!(blobs, 4);
}

#[test]
fn the_same_programs_give_the_same_bytes() {
    let make = || image(vec![("a", b"one".to_vec())]).archive().unwrap();
    let first = make();
    std::thread::sleep(std::time::Duration::from_millis(1100));
    assert!(first == make());
    assert!(first != image(vec![("a", b"two".to_vec())]).archive().unwrap());
}

#[test]
fn a_layer_has_the_program_for_all_to_execute_and_no_trace_of_this_machine() {
    let layer = tar::archive(&[tar::Entry::program("app", b"#!x".to_vec())]).unwrap();
    let scratch = Scratch::unpacked("layer", &layer);
    let mode = fs::metadata(scratch.0.join("app")).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o555);
    let listed =
        scratch.run(Command::new("tar").args(["--utc", "-tvf", "a.tar"]).env("LC_ALL", "C"));
    assert!(listed.contains("0/0") && listed.contains("1970-01-01 00:00"), "{listed}");
}

#[test]
fn another_tool_reads_the_archive() {
    if find("skopeo").is_none() {
        println!("SKIP: skopeo is not here");
        return;
    }
    let scratch = Scratch::new("skopeo");
    let archive = image(vec![("cloudtaser-agent", b"x".to_vec())]).archive().unwrap();
    fs::write(scratch.0.join("image.tar"), archive).unwrap();
    let told = scratch.run(Command::new("skopeo").args([
        "--insecure-policy",
        "inspect",
        "--config",
        "oci-archive:image.tar",
    ]));
    assert!(told.contains("\"User\": \"65532:65532\""), "{told}");
    assert!(told.contains("/cloudtaser-agent"), "{told}");
    // A copy checks each digest and the difference of each layer.
    scratch.run(Command::new("skopeo").args([
        "--insecure-policy",
        "copy",
        "oci-archive:image.tar",
        "oci:copied:x",
    ]));
}

/// A program without a library, that says who it is and what its root has.
const TELLER: &str = r#"
use std::os::unix::fs::MetadataExt;
fn main() {
    let own = std::fs::metadata("/proc/self").unwrap();
    let mut names: Vec<_> = std::fs::read_dir("/").unwrap()
        .map(|each| each.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    println!("uid {} root {}", own.uid(), names.join(" "));
    println!("written {}", std::fs::write("/x", "x").is_ok());
}
"#;

#[test]
fn a_container_of_it_runs_without_a_shell_as_its_numeric_user() {
    if find("runc").is_none() || !nix_is_root() {
        println!("SKIP: runc is not here, or this is not root");
        return;
    }
    let scratch = Scratch::new("runc");
    fs::write(scratch.0.join("t.rs"), TELLER).unwrap();
    scratch.run(Command::new("rustc").args([
        "-C",
        "target-feature=+crt-static",
        "-o",
        "t",
        "t.rs",
    ]));
    let archive = image(vec![("cloudtaser-agent", fs::read(scratch.0.join("t")).unwrap())]);
    let unpacked = Scratch::unpacked("runc-image", &archive.archive().unwrap());
    let index = fs::read_to_string(unpacked.0.join("index.json")).unwrap();
    let blob = |digest: &str| unpacked.0.join("blobs/sha256").join(digest);
    let manifest = fs::read_to_string(blob(&descriptors(&index)[0].0)).unwrap();
    let parts = descriptors(&manifest);
    let config = fs::read_to_string(blob(&parts[0].0)).unwrap();
    assert!(config.contains("\"User\":\"65532:65532\""), "{config}");
    fs::create_dir(scratch.0.join("rootfs")).unwrap();
    for (layer, _) in &parts[1..] {
        scratch.run(Command::new("tar").arg("-xf").arg(blob(layer)).args(["-C", "rootfs"]));
    }
    fs::write(scratch.0.join("config.json"), BUNDLE).unwrap();
    let name = format!("cloudtaser-images-{}", std::process::id());
    let output = Command::new("runc")
        .args(["--root", "state", "run", &name])
        .current_dir(&scratch.0)
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    if !output.status.success() && told.contains("unable to start container process") {
        println!("SKIP: runc cannot start containers here: {told}");
        return;
    }
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(
        said, "uid 65532 root cloudtaser-agent dev proc sbom.json\nwritten false\n",
        "{told}"
    );
}

/// A pod's container as the restricted standard has it: no capability, nothing to write to.
const BUNDLE: &str = r#"{"ociVersion":"1.0.2","process":{"user":{"uid":65532,"gid":65532},
"args":["/cloudtaser-agent"],"cwd":"/","noNewPrivileges":true,"capabilities":{}},
"root":{"path":"rootfs","readonly":true},
"mounts":[{"destination":"/proc","type":"proc","source":"proc"},
{"destination":"/dev","type":"tmpfs","source":"tmpfs","options":["mode=755"]}],
"linux":{"namespaces":[{"type":"pid"},{"type":"mount"},{"type":"ipc"},{"type":"uts"},
{"type":"network"}]}}"#;

fn nix_is_root() -> bool {
    read(program("id").arg("-u")).is_ok_and(|id| id.trim() == "0")
}
