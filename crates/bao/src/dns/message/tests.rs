use proptest::prelude::*;
use simple_dns::{ResourceRecord, rdata};

use super::*;

fn answer(change: impl FnOnce(&mut Packet<'_>)) -> Vec<u8> {
    let asked = question(7, "bao.example", Family::V4).unwrap();
    let mut packet = Packet::parse(&asked).unwrap().into_reply();
    packet.questions = Packet::parse(&asked).unwrap().questions;
    change(&mut packet);
    packet.build_bytes_vec_compressed().unwrap()
}

fn record(name: &'static str, data: RData<'static>) -> ResourceRecord<'static> {
    ResourceRecord::new(Name::new(name).unwrap(), CLASS::IN, 60, data)
}

fn a(address: u32) -> RData<'static> {
    RData::A(rdata::A { address })
}

fn alias(name: &'static str) -> RData<'static> {
    RData::CNAME(rdata::CNAME(Name::new(name).unwrap()))
}

fn read(bytes: &[u8]) -> Reply {
    reply(bytes, 7, "bao.example", Family::V4)
}

#[test]
fn an_address_is_taken_whatever_the_case_of_the_name() {
    let bytes = answer(|packet| packet.answers.push(record("BAO.example", a(0x0a00_0001))));
    assert_eq!(read(&bytes), Reply::Addresses(vec!["10.0.0.1".parse().unwrap()]));
}

#[test]
fn aliases_are_followed_in_any_order() {
    let bytes = answer(|packet| {
        packet.answers.push(record("c.example", a(1)));
        packet.answers.push(record("b.example", alias("c.example")));
        packet.answers.push(record("bao.example", alias("b.example")));
    });
    assert_eq!(read(&bytes), Reply::Addresses(vec!["0.0.0.1".parse().unwrap()]));
}

#[test]
fn aliases_in_a_circle_come_to_an_end() {
    let bytes = answer(|packet| packet.answers.push(record("bao.example", alias("bao.example"))));
    assert_eq!(read(&bytes), Reply::Addresses(Vec::new()));
}

#[test]
fn an_address_of_another_name_is_not_taken() {
    let bytes = answer(|packet| packet.answers.push(record("evil.example", a(1))));
    assert_eq!(read(&bytes), Reply::Addresses(Vec::new()));
}

#[test]
fn an_answer_to_another_question_is_not_ours() {
    let bytes = answer(|packet| packet.answers.push(record("bao.example", a(1))));
    assert_eq!(reply(&bytes, 8, "bao.example", Family::V4), Reply::NotOurs);
    assert_eq!(reply(&bytes, 7, "bao.other", Family::V4), Reply::NotOurs);
    assert_eq!(reply(&bytes, 7, "bao.example", Family::V6), Reply::NotOurs);
    let asked = question(7, "bao.example", Family::V4).unwrap();
    assert_eq!(read(&asked), Reply::NotOurs, "a question is no answer");
}

#[test]
fn truncation_failure_and_absence_are_told_apart() {
    assert_eq!(read(&answer(|packet| packet.set_flags(PacketFlag::TRUNCATION))), Reply::Truncated);
    assert_eq!(read(&answer(|packet| *packet.rcode_mut() = RCODE::NameError)), Reply::NoSuchName);
    assert_eq!(
        read(&answer(|packet| *packet.rcode_mut() = RCODE::ServerFailure)),
        Reply::ServerFailed
    );
}

#[test]
fn a_name_that_is_too_long_cannot_be_asked_for() {
    assert!(question(1, &"a".repeat(64), Family::V4).is_none());
    assert!(question(1, &"a.".repeat(150), Family::V4).is_none());
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        drop(read(&bytes));
    }

    #[test]
    fn no_change_to_an_answer_makes_it_panic(at: prop::sample::Index, to: u8, cut: prop::sample::Index) {
        let mut bytes = answer(|packet| {
            packet.answers.push(record("bao.example", alias("b.example")));
            packet.answers.push(record("b.example", a(1)));
        });
        let at = at.index(bytes.len());
        bytes[at] = to;
        bytes.truncate(cut.index(bytes.len()) + 1);
        drop(read(&bytes));
    }
}
