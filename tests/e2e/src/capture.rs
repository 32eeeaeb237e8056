//! Everything that goes over the interfaces of one network, as the streams of bytes that it is.
//!
//! A packet socket sees what the kernel sees, the loopback included; no program has to be there.
//! Packets that are sent again are known by their numbers, so that a needle which lies across two
//! packets is found as well.

use std::{
    collections::BTreeMap,
    io::{Error, ErrorKind},
    os::fd::{AsRawFd as _, OwnedFd},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
};

use nix::sys::{
    socket::{
        AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, setsockopt, socket,
        sockopt,
    },
    time::{TimeVal, TimeValLike as _},
};

use crate::netns::Network;

/// Both addresses with their ports, the sender first.
type Flow = [u8; 12];

/// What was heard so far of one direction of a connection.
#[derive(Debug, Default)]
struct Heard {
    next: Option<u32>,
    bytes: Vec<u8>,
    /// Bytes that were not heard, because the socket's buffer was full.
    lost: bool,
}

/// A capture that goes on until it is ended.
#[derive(Debug)]
pub struct Capture {
    over: Arc<AtomicBool>,
    listening: JoinHandle<BTreeMap<Flow, Heard>>,
}

/// What a capture heard.
#[derive(Debug)]
pub struct Captured(BTreeMap<Flow, Heard>);

impl Capture {
    /// Begins to listen to a network.
    ///
    /// # Panics
    /// Where the kernel gives no packet socket.
    #[must_use]
    pub fn begin(network: &Network) -> Self {
        let opened = network.within(open);
        let socket = opened.expect("a packet socket");
        let over = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&over);
        let listening = std::thread::spawn(move || listen(&socket, &told));
        Self { over, listening }
    }

    /// Ends it.
    ///
    /// # Panics
    /// Where the listener did.
    #[must_use]
    pub fn end(self) -> Captured {
        self.over.store(true, Ordering::SeqCst);
        Captured(self.listening.join().expect("a listener"))
    }
}

impl Captured {
    /// Whether these bytes were sent by anybody.
    #[must_use]
    pub fn has(&self, needle: &[u8]) -> bool {
        let within = |heard: &Heard| heard.bytes.windows(needle.len()).any(|part| part == needle);
        self.0.values().any(within)
    }

    /// Bytes of payload in all.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.0.values().map(|heard| heard.bytes.len()).sum()
    }

    /// Whether nothing was missed.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.0.values().all(|heard| !heard.lost)
    }
}

fn open() -> nix::Result<OwnedFd> {
    let socket =
        socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::EthAll)?;
    setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::milliseconds(50))?;
    // By force: the usual limit holds a few hundred packets.
    setsockopt(&socket, sockopt::RcvBufForce, &(32 << 20))?;
    Ok(socket)
}

fn listen(socket: &OwnedFd, over: &AtomicBool) -> BTreeMap<Flow, Heard> {
    let (mut flows, mut packet) = (BTreeMap::new(), vec![0; 1 << 17]);
    // What is in the buffer when it ends belongs to it.
    let mut last = false;
    loop {
        match recv(socket.as_raw_fd(), &mut packet, MsgFlags::empty()) {
            // What is not TCP over IPv4 is passed over.
            Ok(len) => drop(take(&packet[..len], &mut flows)),
            Err(errno) => {
                let quiet = Error::from(errno).kind() == ErrorKind::WouldBlock;
                assert!(quiet, "a capture: {errno}");
                if last {
                    return flows;
                }
                last = over.load(Ordering::SeqCst);
            }
        }
    }
}

/// Adds the payload of one packet, where it is TCP over IPv4 and new.
fn take(packet: &[u8], flows: &mut BTreeMap<Flow, Heard>) -> Option<()> {
    const ETHERNET: usize = 14;
    let ip = packet.get(ETHERNET..).filter(|_| packet.get(12..14) == Some(&[8, 0]))?;
    let header = usize::from(ip.first()? & 15) * 4;
    (*ip.get(9)? == 6).then_some(())?;
    let total = usize::from(u16::from_be_bytes([*ip.get(2)?, *ip.get(3)?]));
    // What the card is to cut is one packet here, and may say that it has no length.
    let ip = if total == 0 { ip } else { ip.get(..total)? };
    let tcp = ip.get(header..)?;
    let payload = tcp.get(usize::from(tcp.get(12)? >> 4) * 4..)?;
    let number = u32::from_be_bytes(tcp.get(4..8)?.try_into().ok()?);
    let flow: Flow = [ip.get(12..20)?, tcp.get(..4)?].concat().try_into().ok()?;
    let syn = tcp.get(13)? & 2 != 0;
    let heard: &mut Heard = flows.entry(flow).or_default();
    if syn {
        heard.next = Some(number.wrapping_add(1));
        return Some(());
    }
    // What carries nothing says nothing: an end has a number of its own, which comes back in these.
    (!payload.is_empty()).then_some(())?;
    let next = heard.next.unwrap_or(number);
    let ahead = number.wrapping_sub(next);
    let known = if ahead > u32::MAX / 2 { next.wrapping_sub(number) } else { 0 };
    heard.lost |= known == 0 && ahead > 0;
    let new = payload.get(usize::try_from(known).ok()?..)?;
    heard.bytes.extend_from_slice(new);
    let len = u32::try_from(new.len()).ok()?;
    heard.next = Some(number.wrapping_add(known).wrapping_add(len));
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(number: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
        let total = u16::try_from(40 + payload.len()).unwrap().to_be_bytes();
        let mut bytes = vec![0; 12];
        bytes.extend([8, 0, 0x45, 0, total[0], total[1], 0, 0, 0, 0, 64, 6, 0, 0]);
        bytes.extend([10, 0, 0, 1, 10, 0, 0, 2, 1, 2, 3, 4]);
        bytes.extend(number.to_be_bytes());
        bytes.extend([0, 0, 0, 0, 0x50, flags, 0, 0, 0, 0, 0, 0]);
        bytes.extend_from_slice(payload);
        bytes
    }

    #[test]
    fn a_needle_across_two_packets_is_found_and_one_sent_again_is_not_doubled() {
        let mut flows = BTreeMap::new();
        for (number, flags, payload) in
            [(99, 2, &b""[..]), (100, 0, b"one ne"), (100, 0, b"one needle"), (110, 0, b" two")]
        {
            take(&packet(number, flags, payload), &mut flows);
        }
        let captured = Captured(flows);
        assert!(captured.has(b"one needle two") && captured.is_whole());
        assert_eq!(captured.bytes(), 14);
    }

    #[test]
    fn what_was_missed_is_told() {
        let mut flows = BTreeMap::new();
        take(&packet(100, 0, b"abc"), &mut flows);
        take(&packet(200, 0, b"def"), &mut flows);
        assert!(!Captured(flows).is_whole());
    }
}
