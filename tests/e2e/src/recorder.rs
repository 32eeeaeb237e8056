//! A relay of bytes that keeps a copy of all that passes: what anybody on the wire sees.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use crate::netns::Network;

/// All connections, each with both directions.
#[derive(Debug)]
pub struct Recorder {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Recorded>>>,
}

type Recorded = Arc<Mutex<(Vec<u8>, Vec<u8>)>>;

impl Recorder {
    /// Listens on the loopback of a network and passes on to an address that is reached from there.
    #[must_use]
    pub fn start(network: &Network, to: &str) -> Self {
        let seen = Arc::<Mutex<Vec<Recorded>>>::default();
        let (kept, to) = (Arc::clone(&seen), to.to_owned());
        // A thread has the network of the one that starts it.
        let address = network.within(move || {
            let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
            let address = listener.local_addr().expect("its address");
            thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    let recorded = Recorded::default();
                    kept.lock().unwrap_or_else(PoisonError::into_inner).push(recorded.clone());
                    let Ok(beyond) = TcpStream::connect(&to) else { continue };
                    carry(stream, beyond, &recorded);
                }
            });
            address
        });
        Self { address, seen }
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Each connection so far: what went there, what came back.
    #[must_use]
    pub fn seen(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.iter().map(|one| one.lock().unwrap_or_else(PoisonError::into_inner).clone()).collect()
    }
}

fn carry(near: TcpStream, far: TcpStream, recorded: &Recorded) {
    let (near_read, far_read) = (near.try_clone(), far.try_clone());
    let (Ok(near_read), Ok(far_read)) = (near_read, far_read) else { return };
    let [there, back] = [Arc::clone(recorded), Arc::clone(recorded)];
    thread::spawn(move || {
        copy(near_read, far, |bytes| {
            there.lock().unwrap_or_else(PoisonError::into_inner).0.extend_from_slice(bytes);
        })
    });
    thread::spawn(move || {
        copy(far_read, near, |bytes| {
            back.lock().unwrap_or_else(PoisonError::into_inner).1.extend_from_slice(bytes);
        })
    });
}

fn copy(mut from: TcpStream, mut to: TcpStream, keep: impl Fn(&[u8])) {
    let mut chunk = [0; 16 * 1024];
    while let Ok(len @ 1..) = from.read(&mut chunk) {
        keep(&chunk[..len]);
        if to.write_all(&chunk[..len]).is_err() {
            break;
        }
    }
    // The other side may be gone already.
    drop(to.shutdown(Shutdown::Write));
}
