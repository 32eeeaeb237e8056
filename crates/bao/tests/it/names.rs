//! Names, resolved by a DNS server of the test's own on a loopback address.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{TcpListener, UdpSocket},
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use crate::support::{chain, http_answer, http_stub, session};
use cloudtaser_bao::{
    Address, BaoError, Client, Deadline, Failure, Plaintext, Settings, dns::Files,
};
use simple_dns::{CLASS, Name, Packet, PacketFlag, QTYPE, RCODE, ResourceRecord, TYPE, rdata};

/// How often the name was asked for that appears after six questions, which are three tries.
static LATE: AtomicU32 = AtomicU32::new(0);

/// What the server does with one question; `None` is silence.
fn answer(question: &[u8], tcp: bool) -> Option<Vec<u8>> {
    let asked = Packet::parse(question).unwrap();
    let name = asked.questions[0].qname.to_string();
    let is_a = asked.questions[0].qtype == QTYPE::TYPE(TYPE::A);
    let mut reply = Packet::new_reply(asked.id());
    reply.questions.clone_from(&asked.questions);
    let loopback = rdata::RData::A(rdata::A { address: 0x7f00_0001 });
    let record = |name: &str| {
        ResourceRecord::new(Name::new(name).unwrap().into_owned(), CLASS::IN, 1, loopback.clone())
    };
    match name.as_str() {
        "bao.app.svc.cluster.test" if is_a => reply.answers.push(record(&name)),
        "bao.app.svc.cluster.test" => {}
        "large.example" if !tcp => reply.set_flags(PacketFlag::TRUNCATION),
        "large.example" if is_a => reply.answers.push(record(&name)),
        "large.example" => {}
        "alias.example" if is_a => {
            let alias = rdata::RData::CNAME(rdata::CNAME(Name::new("real.example").unwrap()));
            let alias =
                ResourceRecord::new(Name::new("alias.example").unwrap(), CLASS::IN, 1, alias);
            reply.answers.extend([alias, record("real.example")]);
        }
        "alias.example" => {}
        "v4only.example" if is_a => reply.answers.push(record(&name)),
        "v4only.example" | "silent.example" => return None,
        "late.example" if LATE.fetch_add(1, Ordering::Relaxed) < 6 => {
            *reply.rcode_mut() = RCODE::NameError;
        }
        "late.example" if is_a => reply.answers.push(record(&name)),
        "late.example" | "noaddress.example" => {}
        "broken.example" => *reply.rcode_mut() = RCODE::ServerFailure,
        _ => *reply.rcode_mut() = RCODE::NameError,
    }
    Some(reply.build_bytes_vec().unwrap())
}

/// Starts the server on port 53 of a loopback address, which only root may use.
fn serve(address: &'static str) -> bool {
    let (Ok(udp), Ok(tcp)) = (UdpSocket::bind((address, 53)), TcpListener::bind((address, 53)))
    else {
        println!("SKIP: port 53 of {address} cannot be used (not root, or taken)");
        return false;
    };
    thread::spawn(move || {
        let mut buffer = [0; 512];
        while let Ok((len, from)) = udp.recv_from(&mut buffer) {
            if let Some(reply) = answer(&buffer[..len], false) {
                udp.send_to(&reply, from).unwrap();
            }
        }
    });
    thread::spawn(move || {
        for mut stream in tcp.incoming().flatten() {
            let mut len = [0; 2];
            stream.read_exact(&mut len).unwrap();
            let mut question = vec![0; usize::from(u16::from_be_bytes(len))];
            stream.read_exact(&mut question).unwrap();
            let reply = answer(&question, true).unwrap_or_default();
            let len = u16::try_from(reply.len()).unwrap();
            stream.write_all(&[&len.to_be_bytes()[..], &reply].concat()).unwrap();
        }
    });
    true
}

struct Place {
    _dir: tempfile::TempDir,
    files: Files,
    port: u16,
}

impl Place {
    fn new(resolv_conf: &str, hosts: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| -> PathBuf {
            let path = dir.path().join(name);
            fs::write(&path, text).unwrap();
            path
        };
        let files =
            Files { hosts: write("hosts", hosts), resolv_conf: write("resolv.conf", resolv_conf) };
        let lookup = r#"{"data":{"ttl":60,"policies":[]}}"#;
        let port = http_stub(move |_| http_answer("200 OK", lookup));
        Self { _dir: dir, files, port }
    }

    fn client(&self, host: &str) -> Client {
        let address = Address::parse(&format!("http://{host}:{}", self.port)).unwrap();
        let (plaintext, resolver) = (Plaintext::Allowed, self.files.clone());
        Client::new(Settings { plaintext, resolver, ..Settings::new(address) }).unwrap()
    }

    fn fail(&self, host: &str, time: Duration) -> BaoError {
        let login =
            cloudtaser_bao::Login::new(cloudtaser_bao::Method::Token(crate::support::value("t")));
        self.client(host).login(&login, &Deadline::after(time)).unwrap_err()
    }
}

const POD: &str = "nameserver 127.77.1.1\nsearch none.test app.svc.cluster.test\noptions ndots:5 timeout:1 attempts:2\n";

#[test]
fn names_are_found_by_search_by_tcp_and_by_alias() {
    if !serve("127.77.1.1") {
        return;
    }
    let place = Place::new(POD, "");
    for host in ["bao", "large.example", "alias.example.", "v4only.example"] {
        session(&place.client(host), "t");
    }
    let started = Instant::now();
    session(&place.client("v4only.example."), "t");
    assert!(started.elapsed() < Duration::from_millis(900), "a missing AAAA costs little");

    let error = place.fail("broken.example.", Duration::from_millis(500));
    assert!(
        chain(&error).contains("no usable answer from the DNS servers (127.77.1.1:53)"),
        "{error}"
    );
    let started = Instant::now();
    let error = place.fail("silent.example.", Duration::from_millis(1500));
    assert!(matches!(error.failure(), Failure::Name(_)), "{error}");
    assert!(chain(&error).contains("did not answer in time"), "{error}");
    assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
}

#[test]
fn a_name_that_does_not_exist_is_believed_after_three_seconds() {
    if !serve("127.77.1.3") {
        return;
    }
    let place = Place::new(
        "nameserver 127.77.1.3\nsearch none.test app.svc.cluster.test\noptions ndots:5\n",
        "",
    );
    let started = Instant::now();
    let error = place.fail("nowhere.example", Duration::from_secs(30));
    let took = started.elapsed();
    assert!(Duration::from_millis(500) < took && took < Duration::from_secs(5), "{took:?}");
    assert!(error.tries() > 2, "{error}");
    let head = "cannot look up the token (GET auth/token/lookup-self): the host name cannot be \
                resolved: check the host in the address, and search and nameserver in \
                /etc/resolv.conf (tried ";
    let tail = ": there is no host nowhere.example: the DNS servers (127.77.1.3:53) know none of \
                nowhere.example.none.test, nowhere.example.app.svc.cluster.test, nowhere.example";
    let message = chain(&error);
    assert!(message.starts_with(head) && message.ends_with(tail), "{message}");

    // The deadline still comes first.
    let started = Instant::now();
    place.fail("nowhere.example", Duration::from_millis(300));
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    // What cannot be a name is not tried twice.
    let error = place.fail(&"a".repeat(64), Duration::from_secs(30));
    assert_eq!(error.tries(), 1, "{error}");
}

#[test]
fn a_name_that_appears_a_moment_later_is_found() {
    if !serve("127.77.1.4") {
        return;
    }
    let place = Place::new("nameserver 127.77.1.4\n", "");
    session(&place.client("late.example."), "t");
}

#[test]
fn a_name_without_an_address_is_waited_for_until_the_deadline() {
    if !serve("127.77.1.5") {
        return;
    }
    let place = Place::new("nameserver 127.77.1.5\nsearch none.test\n", "");
    let started = Instant::now();
    // A pause that would pass the deadline is not made, and the longest pause is of two seconds.
    let error = place.fail("noaddress.example", Duration::from_secs(6));
    assert!(started.elapsed() > Duration::from_millis(3900), "{:?}", started.elapsed());
    let message = chain(&error);
    let tail = ": noaddress.example has no address yet (the DNS servers are 127.77.1.5:53)";
    assert!(message.ends_with(tail), "{message}");
}

#[test]
fn a_hosts_file_and_localhost_need_no_server() {
    let place = Place::new(
        "nameserver 127.77.9.9\noptions timeout:1 attempts:1\n",
        "127.0.0.1 bao.lan # x\n",
    );
    for host in ["bao.lan", "localhost", "127.0.0.1"] {
        session(&place.client(host), "t");
    }
}

#[test]
fn a_second_server_answers_for_a_dead_one() {
    if !serve("127.77.1.2") {
        return;
    }
    let place = Place::new("nameserver 127.77.9.9\nnameserver 127.77.1.2\noptions timeout:1\n", "");
    session(&place.client("alias.example."), "t");
}
