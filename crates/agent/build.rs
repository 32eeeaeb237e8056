//! Compiles `bpf/` with clang; the agent embeds the object.

#![forbid(unsafe_code)]

use std::env;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Debian's; a plain `clang` elsewhere. The code needs nothing newer than 14.
const COMPILERS: [&str; 2] = ["clang-14", "clang"];

fn main() -> Result<(), Box<dyn Error>> {
    let home = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let sources = home.join("../../bpf").canonicalize()?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    // libbpf-sys names its headers by its `links` key.
    let libbpf = PathBuf::from(env::var("DEP_BPF_INCLUDE")?);
    println!("cargo::rerun-if-changed={}", sources.display());
    // Programs that are not ours, for the virtual machines.
    let guest = ["second", "cut", "floor"].map(|name| {
        let source = home.join(format!("examples/guest/{name}.bpf.c"));
        println!("cargo::rerun-if-changed={}", source.display());
        source
    });
    let [second, cut, floor] = &guest;
    let own = Path::new("agent.bpf.c");
    let objects: [(&Path, &[&str], &str); 5] = [
        (own, &[], "agent.bpf.o"),
        // The same verdicts for a kernel without trampolines.
        (own, &["-DCT_PROBE"], "probe.bpf.o"),
        (second, &[], "second.bpf.o"),
        (cut, &[], "cut.bpf.o"),
        (floor, &[], "floor.bpf.o"),
    ];
    for (source, flags, object) in objects {
        compile(&sources, &libbpf, (source, flags), &out.join(object))?;
    }
    Ok(())
}

fn compile(
    sources: &Path,
    libbpf: &Path,
    (source, flags): (&Path, &[&str]),
    object: &Path,
) -> Result<(), Box<dyn Error>> {
    for compiler in COMPILERS {
        let mut command = Command::new(compiler);
        command.args(["-target", "bpf", "-mcpu=v3", "-O2", "-g", "-Wall", "-Werror", "-c"]);
        command.arg("-D__TARGET_ARCH_x86").args(flags);
        // The object then says nothing of the machine that it was made on.
        command.current_dir(sources).arg("-fdebug-compilation-dir=/cloudtaser/bpf");
        command.arg(format!("-ffile-prefix-map={}=/libbpf", libbpf.display()));
        command.arg(format!("-ffile-prefix-map={}=/cloudtaser/bpf", sources.display()));
        command.args(["-I", "include", "-I", ".", "-I"]).arg(libbpf);
        command.arg(source).arg("-o").arg(object);
        match command.status() {
            Ok(status) if status.success() => return Ok(()),
            Ok(status) => return Err(format!("{compiler} failed ({status})").into()),
            Err(_not_here) => {}
        }
    }
    Err(missing(sources).into())
}

fn missing(sources: &Path) -> String {
    format!(
        "no clang, which compiles {}: `cargo xtask tools` installs it (apt: clang-14 libelf-dev \
         zlib1g-dev pkg-config make)",
        sources.display()
    )
}
