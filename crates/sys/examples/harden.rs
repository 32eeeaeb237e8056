//! Hardens itself and shows the effect, for the tests of this crate.
//!
//! Without an argument: undumpable, and what is left of that in the program it becomes. With
//! `environment NAME…`: takes these variables, then prints its own environment block as root would
//! read it, and last the value of the first name. With `stack`: wipes the first thread's stack, also
//! where it has none yet.

use std::error::Error;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use cloudtaser_sys::harden;
use nix::sys::prctl;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let mut out = std::io::stdout().lock();
    match args.split_first() {
        None => {
            harden::forbid_dumps()?;
            writeln!(out, "dumpable {}", prctl::get_dumpable()?)?;
            out.flush()?;
            drop(out);
            Err(Command::new(std::env::current_exe()?).arg("dumpable").exec().into())
        }
        Some((first, names)) if first == "environment" => {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let taken = harden::take_environment(&names)?;
            out.write_all(&std::fs::read("/proc/self/environ")?)?;
            let value =
                taken.iter().find(|(name, _)| names.first().is_some_and(|first| name == first));
            out.write_all(value.map_or(&[][..], |(_, value)| value.as_bytes()))?;
            Ok(())
        }
        Some((first, [])) if first == "stack" => {
            for len in [1, 64 << 10, 128 << 10, 1 << 20, 1 << 20] {
                harden::wipe_stack(len);
            }
            Ok(writeln!(out, "wiped")?)
        }
        Some(_) => Ok(writeln!(out, "after exec {}", prctl::get_dumpable()?)?),
    }
}
