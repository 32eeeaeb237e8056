//! Roads below the process: memory of the kernel and of the machine, by file.
//!
//! Only whether they are open is told. A scan of all memory takes longer than a probe may, and the
//! pages of a target move while it runs; an open road is reported as open with nothing searched.

use std::{
    fs::{self, File},
    io::{self, Read},
};

use cloudtaser_sys::roads::take_ports;
use nix::errno::Errno;
use zeroize::Zeroizing;

use super::super::{
    report::{Access, RoadResult},
    road::Road,
};

/// Opens `/proc/kcore` and reads its header.
pub(crate) fn kcore() -> RoadResult {
    open(Road::Kcore, "/proc/kcore", 64)
}

/// Opens `/dev/mem` and reads from its first page.
pub(crate) fn dev_mem() -> RoadResult {
    open(Road::DevMem, "/dev/mem", 64)
}

/// Opens the first device that the kernel swaps to, and reads from its beginning.
pub(crate) fn swap() -> RoadResult {
    let swaps = fs::read_to_string("/proc/swaps").unwrap_or_default();
    let mut devices = swaps.lines().skip(1).filter_map(|line| line.split_whitespace().next());
    match devices.next() {
        Some(path) => open(Road::Swap, path, 512),
        None => RoadResult::new(Road::Swap, Access::Absent, "this machine does not swap"),
    }
}

/// Takes all I/O ports, and gives them back.
pub(crate) fn ports() -> RoadResult {
    match take_ports() {
        Ok(()) => RoadResult::new(
            Road::Ports,
            Access::Open,
            "taken; not used. A device can be told to read any memory that the kernel maps",
        ),
        Err(Errno::ENOSYS) => {
            RoadResult::new(Road::Ports, Access::Absent, "this kernel does not offer it")
        }
        Err(error) => RoadResult::refused(Road::Ports, &error.into(), ""),
    }
}

fn open(road: Road, path: &str, bytes: usize) -> RoadResult {
    let mut buffer = Zeroizing::new(vec![0; bytes]);
    match File::open(path).and_then(|mut file| file.read_exact(&mut buffer)) {
        Ok(()) => RoadResult::new(
            road,
            Access::Open,
            "readable; not searched (all of memory). Sealed pages are not in the kernel's map",
        ),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            RoadResult::new(road, Access::Absent, "this kernel does not offer it")
        }
        Err(error) => RoadResult::refused(road, &error, ""),
    }
}
