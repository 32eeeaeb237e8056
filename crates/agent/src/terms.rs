//! What a set is loaded on: written once, at the first load, and what an heir may not change.

use std::fs::File;
use std::io::Read as _;

use anyhow::{Context as _, ensure};
use libbpf_rs::{MapCore as _, MapFlags, MapHandle};

use crate::abi::{Authority, Room};
use crate::bpf::Loaded;
use crate::egress;
use crate::keys::OperatorKey;
use crate::run::RunArgs;

/// The one entry of a map that has one.
const ONLY: [u8; 4] = [0; 4];

/// Writes the terms before anything is attached.
pub(crate) fn first(loaded: &Loaded, args: &RunArgs) -> anyhow::Result<()> {
    let room = Room { used: 0, most: u64::from(args.most_processes) };
    loaded.map("ct_room")?.update(&ONLY, &room.bytes(), MapFlags::ANY)?;
    egress::list(&loaded.map("ct_egress")?, &args.allow_egress)?;
    let mut instance = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut instance)?;
    let authority = Authority {
        key: args.operator_key.map_or([0; 32], OperatorKey::bytes),
        instance,
        serial: 1,
        unloading: false,
        egress: !args.allow_egress.is_empty(),
    };
    write(&loaded.map("ct_authority")?, &authority)
}

/// Whose orders are taken.
pub(crate) fn read(map: &MapHandle) -> anyhow::Result<Authority> {
    let bytes = map.lookup(&ONLY, MapFlags::ANY)?.unwrap_or_default();
    Authority::parse(&bytes).context("ct_authority cannot be read")
}

/// Writes it.
pub(crate) fn write(map: &MapHandle, authority: &Authority) -> anyhow::Result<()> {
    Ok(map.update(&ONLY, &authority.bytes(), MapFlags::ANY)?)
}

/// Refuses arguments that ask for other terms than those that are pinned.
pub(crate) fn accept(
    authority: &Authority,
    listed: &MapHandle,
    args: &RunArgs,
) -> anyhow::Result<()> {
    if !args.allow_egress.is_empty() {
        ensure!(
            authority.egress && egress::is_listed(listed, &args.allow_egress)?,
            "not what is pinned: --allow-egress"
        );
    }
    // SECURITY: root may start the heir, and has a key of its own.
    if let Some(key) = args.operator_key {
        ensure!(authority.key == key.bytes(), "not what is pinned: --operator-key");
    }
    Ok(())
}

/// How full the table is.
pub(crate) fn room(map: &MapHandle) -> anyhow::Result<Room> {
    let bytes = map.lookup(&ONLY, MapFlags::ANY)?.unwrap_or_default();
    Room::parse(&bytes).context("ct_room cannot be read")
}
