//! Roads below the process: memory of the kernel and of the machine, by file.
//!
//! Only whether they are open is told. A scan of all memory takes longer than a probe may, and the
//! pages of a target move while it runs; an open road is reported as open with nothing searched.

use std::{
    fs::File,
    io::{self, Read},
};

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
