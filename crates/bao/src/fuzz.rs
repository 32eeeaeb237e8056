//! Entries for the fuzzers: what must hold for any bytes that a server or a file may give.
//!
//! Each function panics where a promise is broken and says nothing otherwise. None is in a build
//! that is shipped.

use std::net::IpAddr;

use cloudtaser_core::Secret;
use serde_json::Value;

use crate::{
    answer,
    dns::{
        files::{self, ResolvConf},
        message::{Family, Reply, question, reply},
    },
    json, transit,
};

const NAME: &str = "bao.example";

/// Any text as an answer of OpenBao, read as an answer to everything that is ever asked.
pub fn answers(text: &[u8]) {
    let whole = serde_json::from_slice::<Value>(text).ok();
    assert!(whole.is_none() || json::check(text).is_ok(), "JSON is taken for none");
    if let Ok(answer) = answer::parse(text, "kv/app".to_owned()) {
        assert!(answer.warnings.iter().all(|line| is_one_line(line)));
        assert!(answer.lease.is_none_or(|lease| !lease.id.is_empty()));
        for (name, value) in answer.fields.iter() {
            assert_eq!(answer.fields.get(name).map(Secret::expose), Some(value.expose()));
        }
        if let Some(whole) = &whole {
            fields_are_in(whole, &answer.fields);
        }
    }
    if let Ok(session) = answer::session(text) {
        assert!(!session.token().is_empty());
        assert!(session.accessor.is_none_or(|accessor| !accessor.is_empty()));
    }
    if let Ok(secret) = answer::unwrapped(text, "secret_id") {
        assert!(!secret.is_empty());
    }
    if let Ok(mount) = answer::mount(text) {
        assert!(mount.path.ends_with('/'));
    }
    assert!(answer::errors(text).iter().all(|line| is_one_line(line)));
    if let Ok(plaintexts) = transit::plaintexts(text, 2) {
        assert_eq!(plaintexts.len(), 2);
        assert!(transit::failed_entry(text).is_none());
    }
    drop((answer::missing(text), answer::lease(text, "a"), answer::creation_path(text)));
    drop((answer::looked_up(text, Secret::new(vec![b'a'])), answer::is_wrapped(text)));
}

/// Any bytes as an answer of a DNS server, with the number that it carries taken for ours.
pub fn dns_message(bytes: &[u8]) {
    let id = bytes.first_chunk().map_or(0, |id| u16::from_be_bytes(*id));
    for family in [Family::V4, Family::V6] {
        let ours = reply(bytes, id, NAME, family);
        if let Reply::Addresses(found) = &ours {
            assert!(found.iter().all(|address| address.is_ipv4() == (family == Family::V4)));
            assert!(found.len() <= 16);
        }
        let others = [reply(bytes, id ^ 1, NAME, family), reply(bytes, id, "x.example", family)];
        assert!(ours == Reply::NotOurs || others == [Reply::NotOurs, Reply::NotOurs]);
    }
}

/// Any text as a hosts file, as a `resolv.conf`, and as the name of a host.
pub fn dns_files(text: &[u8]) {
    let conf = ResolvConf::parse(text);
    assert!((1..=3).contains(&conf.servers.len()) && conf.search.len() <= 32);
    assert!((1..=5).contains(&conf.attempts) && (1..=30).contains(&conf.timeout.as_secs()));
    let candidates = conf.candidates(NAME);
    assert!(candidates.iter().any(|name| name == NAME));
    assert_eq!(conf.candidates("bao.example."), [NAME]);
    for candidate in candidates {
        drop(question(7, &candidate, Family::V4));
    }
    let hosts = files::hosts(text, NAME);
    assert!(hosts.is_sorted_by_key(IpAddr::is_ipv6));
    drop(files::literal(&String::from_utf8_lossy(text)));
}

/// Each field is a member of the answer's data, and a string has the text that serde reads.
fn fields_are_in(whole: &Value, fields: &answer::Fields) {
    let candidates = [whole.pointer("/data/data"), whole.get("data"), whole.get("auth")];
    let is_source = |object: &Value| {
        fields.iter().all(|(name, value)| match object.get(name) {
            Some(Value::String(text)) => text.as_bytes() == value.expose(),
            Some(other) => !other.is_null(),
            None => false,
        })
    };
    let is_found = candidates.into_iter().flatten().any(is_source);
    assert!(is_found, "the fields are not those of the answer");
}

fn is_one_line(text: &str) -> bool {
    !text.contains(char::is_control) && text.chars().count() < 1000
}

#[cfg(test)]
mod tests {
    include!("../../../fuzz/replay.rs");

    #[test]
    fn every_corpus_file_is_replayed() {
        replay("json_answers", super::answers);
        replay("dns_answer", super::dns_message);
        replay("resolver_files", super::dns_files);
    }
}
