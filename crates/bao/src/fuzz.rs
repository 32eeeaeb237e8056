//! Entries for the fuzzers: every parser that reads what others wrote.

use crate::{answer, dns, json, transit};

/// Any text as an answer of OpenBao.
pub fn answers(text: &[u8]) {
    drop((json::check(text), answer::parse(text, String::new()), answer::missing(text)));
    drop((answer::session(text), answer::errors(text), answer::mount(text)));
    drop((answer::lease(text, ""), answer::unwrapped(text, "a"), answer::creation_path(text)));
    drop((transit::plaintexts(text, 2), transit::failed_entry(text)));
}

/// Any bytes as an answer of a DNS server.
pub fn dns_message(bytes: &[u8]) {
    let family = dns::message::Family::V4;
    let id = bytes.first_chunk().map_or(0, |id| u16::from_be_bytes(*id));
    drop(dns::message::reply(bytes, id, "bao.example", family));
}

/// Any text as a hosts file and as a `resolv.conf`.
pub fn dns_files(text: &[u8]) {
    drop(dns::files::hosts(text, "bao.example"));
    drop(dns::files::ResolvConf::parse(text).candidates("bao.example"));
}
