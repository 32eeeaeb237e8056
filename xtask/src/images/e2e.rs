//! `cargo xtask e2e`: packs what a real cluster needs for the suite of `tests/cluster`, and runs it.
//!
//! Nothing is built where there is no cluster: the suite says so itself, and how.

use std::env;
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::{ROOT, USER, architecture, oci, tar, version};
use crate::artifacts;
use crate::command::{self, cargo, find, program};
use crate::elf::Headers;
use crate::place;
use crate::tools::{self, Need, rust};
use crate::ui;

/// Before each image's name, for runtimes into which archives are loaded.
const NOWHERE: &str = "cloudtaser.invalid/e2e";
/// The package of the suite.
const SUITE: &str = "cloudtaser-cluster";
/// The image whose program is root of its node.
const AGENT: &str = "cloudtaser-agent";

/// The verb.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    let mut suite = cargo(["run", "--quiet", "--locked", "--package", SUITE, "--"]);
    suite.args(arguments);
    if is_wanted(arguments) {
        tools::ensure(Need::Build)?;
        tools::ensure(Need::Demo)?;
        let programs = artifacts::build_programs()?;
        let agent = artifacts::build_agent(&["--bins"])?;
        let operator = artifacts::build_operator()?;
        let road = artifacts::build_relay()?;
        let folder = place::target().join("e2e-images");
        drop(fs::remove_dir_all(&folder));
        fs::create_dir_all(&folder)?;
        let wrapper = programs.wrapper.clone();
        pack(&folder, &[vec![agent, wrapper.clone()], vec![operator], vec![wrapper]])?;
        suite.env("CLOUDTASER_BEACON", road.beacon).env("CLOUDTASER_BRIDGE", road.bridge);
        suite.env("CLOUDTASER_CLI", programs.cli).env("CLOUDTASER_E2E_IMAGES", folder);
    }
    Err(suite.exec()).context("cannot run the suite")
}

/// Whether the suite will ask for images: there is a cluster, and no wish for help.
fn is_wanted(arguments: &[String]) -> bool {
    let asks = arguments.iter().any(|word| matches!(word.as_str(), "--load-with" | "--registry"));
    let helps = arguments.iter().any(|word| matches!(word.as_str(), "--help" | "-h"));
    let cluster = env::var_os("KUBECONFIG").is_some_and(|path| !path.is_empty());
    asks && !helps && cluster && find("kubectl").is_some()
}

/// One image: its name, its files by their place.
type Parts = (String, Vec<(String, PathBuf)>);

/// Images of an installation are called after the first of their programs.
fn pack(folder: &Path, installed: &[Vec<PathBuf>]) -> anyhow::Result<()> {
    let subject = subject(folder)?;
    let mut images: Vec<Parts> = Vec::new();
    for files in installed {
        let in_root = |file: &PathBuf| Some((file.file_name()?.to_str()?.to_owned(), file.clone()));
        let files: Vec<_> = files.iter().filter_map(in_root).collect();
        let name = files.first().map(|(name, _)| name.clone());
        images.push((name.context("a program without a name")?, files));
    }
    let app = ("subject".to_owned(), subject);
    images.push(("cloudtaser-e2e-openbao".to_owned(), vec![("bao".to_owned(), place::bao())]));
    if let Some(shell) = find("busybox").filter(|path| is_static(path)) {
        let at = |name: &str| (format!("bin/{name}"), shell.clone());
        images.push(("cloudtaser-e2e-shell".to_owned(), vec![at("env"), at("sh"), app.clone()]));
    }
    images.push(("cloudtaser-e2e-subject".to_owned(), vec![app]));
    let tag = tag(&images)?;
    for (name, files) in &images {
        let user = if name == AGENT { ROOT } else { USER };
        write(folder, name, files, user, &tag)?;
    }
    fs::write(folder.join("TAG"), &tag)?;
    ui::say(&format!("{} images, tag {tag}: {}", images.len(), folder.display()));
    Ok(())
}

fn write(
    folder: &Path,
    name: &str,
    files: &[(String, PathBuf)],
    user: u32,
    tag: &str,
) -> anyhow::Result<()> {
    let mut entries = Vec::new();
    if files.iter().any(|(at, _)| at.starts_with("bin/")) {
        entries.push(tar::Entry::folder("bin"));
    }
    for (at, file) in files {
        let bytes = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        entries.push(tar::Entry::program(at, bytes));
    }
    let reference = format!("{NOWHERE}/{name}:{tag}");
    let archive = oci::Image {
        name,
        title: "For the end-to-end suite",
        version: &version()?,
        architecture: architecture()?,
        user,
        reference: Some(&reference),
        layers: vec![entries],
    }
    .archive()?;
    let file = folder.join(format!("{name}.oci.tar"));
    fs::write(&file, archive).with_context(|| format!("cannot write {}", file.display()))
}

/// Of what is in them, so that no node starts an older image of the same name.
fn tag(images: &[Parts]) -> anyhow::Result<String> {
    let mut sums = program("sha256sum");
    sums.args(images.iter().flat_map(|(_, files)| files).map(|(_, file)| file));
    let sum = oci::sha256(command::read(&mut sums)?.as_bytes())?;
    Ok(sum.chars().take(12).collect())
}

/// The app in the pods: one file of Rust, linked with nothing.
fn subject(folder: &Path) -> anyhow::Result<PathBuf> {
    let out = folder.join("subject");
    let source = place::root().join("tests/cluster/fixtures/subject.rs");
    let mut rustc = program("rustc");
    rustc.args(["--edition=2024", "-Copt-level=s", "-Cpanic=abort", "-Cstrip=symbols"]);
    rustc.args(["-Ctarget-feature=+crt-static", "--target"]);
    let musl = rust::musl();
    rustc.arg(if rust::has_target(&musl) { musl } else { rust::host() });
    command::run(rustc.arg("-o").arg(&out).arg(source))?;
    Ok(out)
}

fn is_static(path: &Path) -> bool {
    let headers = fs::read(path).ok().and_then(|bytes| Headers::parse(&bytes).ok());
    headers.is_some_and(|headers| headers.is_alone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_built_for_a_question() {
        let words = |text: &str| -> Vec<String> { text.split(' ').map(str::to_owned).collect() };
        assert!(!is_wanted(&words("--help --load-with x")));
        assert!(!is_wanted(&words("--keep")));
    }

    #[test]
    fn an_archive_has_the_name_by_which_a_runtime_finds_it() {
        let name = format!("cloudtaser-e2e-{}", std::process::id());
        let folder = env::temp_dir().join(&name);
        fs::create_dir_all(&folder).unwrap();
        let file = folder.join("program");
        fs::write(&file, b"program").unwrap();
        let files = [("bin/sh".to_owned(), file.clone()), ("subject".to_owned(), file)];
        write(&folder, "image", &files, USER, "tag").unwrap();
        let archive = folder.join("image.oci.tar");
        let text = String::from_utf8_lossy(&fs::read(&archive).unwrap()).into_owned();
        assert!(text.contains(r#""io.containerd.image.name":"cloudtaser.invalid/e2e/image:tag""#));
        if find("skopeo").is_some() {
            let source = format!("oci-archive:{}", archive.display());
            let seen = command::read(program("skopeo").args(["inspect", "--raw", &source]));
            assert!(seen.is_ok_and(|text| text.contains("manifest.v1+json")));
        }
        let parts: Vec<Parts> = vec![("image".to_owned(), files.to_vec())];
        let before = tag(&parts).unwrap();
        fs::write(folder.join("program"), b"another").unwrap();
        assert!(before.len() == 12 && tag(&parts).unwrap() != before);
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_script_is_no_static_program() {
        assert!(!is_static(Path::new("/etc/passwd")));
    }
}
