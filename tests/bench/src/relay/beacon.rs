//! The beacon as it is shipped, between a client and a bridge that are the bench's own: they say
//! what the protocol demands, and then carry plain bytes, as the other relays' ends do.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use cloudtaser_relay::proto::frame::{self, BeaconToBridge, BridgeToBeacon, KeyBytes, SessionId};
use cloudtaser_relay::proto::leg::{EXPORTER_LABEL, GO_LEN, Preamble};
use cloudtaser_relay::proto::rendezvous::{Epoch, RendezvousId};
use cloudtaser_relay::proto::ticket::{ClientKey, ClientTag, Ticket, TicketSecret};
use cloudtaser_tls::raw::{self, KeyPair};
use cloudtaser_tls::{Digest, MacKey};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use super::ends::{self, Tunnel, dial, free_port, settle};
use super::peers::{Opener, Relay, WAIT_MS, hello_and_answer};

const DOMAIN: &str = "beacon.example";
const TICKETS: [u8; 32] = [9; 32];
const TAG: ClientTag = ClientTag([3; 8]);
const MOST: u16 = u16::MAX;
const LEGS: u16 = 64;

/// A running beacon, with a bridge registered at it.
pub(crate) struct Beacon {
    child: Child,
    road: Arc<Road>,
    key: KeyPair,
}

/// A tunnel's ends, and no more than that.
pub(crate) type Kept = (TcpStream, TcpStream);

/// Opens tunnels from a thread of its own.
pub(crate) struct TunnelOpener(Arc<Road>);

impl TunnelOpener {
    /// One leg and one client. Where others do the same at once, the leg may be given to another
    /// client and the client another leg: each is served all the same.
    pub(crate) fn open(&self) -> anyhow::Result<Kept> {
        let mut far = self.0.leg()?;
        let mut near = dial(self.0.address)?;
        near.write_all(&self.0.hello()?)?;
        far.read_exact(&mut [0; GO_LEN])?;
        hello_and_answer(&mut far)?;
        near.read_exact(&mut [0])?;
        Ok((near, far))
    }
}

/// What both ends need.
struct Road {
    address: SocketAddr,
    digest: Digest,
    id: RendezvousId,
    day: u32,
    key: ClientKey,
    hello: ClientConfig,
    session: SessionId,
    leg_key: MacKey,
    counter: AtomicU64,
}

impl Beacon {
    /// Starts the program and registers a bridge.
    pub(crate) fn start(scratch: &Path) -> anyhow::Result<Self> {
        let program = program()?;
        let (key, pem) = KeyPair::generate()?;
        fs::write(scratch.join("beacon.pem"), pem.expose())?;
        let port = free_port()?;
        let config = format!(
            "listen = \"0.0.0.0:{port}\"\nkey_file = \"beacon.pem\"\nany_bridge = true\n\
             [limits]\npending_per_source = 10000\nwaiting_per_bridge = 10000\n"
        );
        fs::write(scratch.join("beacon.toml"), config)?;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let child = spawn(&program, scratch)?;
        let road = Arc::new(register(address, &key)?);
        let mut beacon = Self { child, road, key };
        let began = Instant::now();
        while let Err(error) = beacon.tunnel() {
            ensure!(began.elapsed() < ends::PATIENCE, "the beacon does not carry: {error:#}");
        }
        Ok(beacon)
    }

    /// As by the kernel, when memory is short.
    pub(crate) fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Another one at the same address, with the bridge registered again.
    pub(crate) fn restart(&mut self, scratch: &Path) -> anyhow::Result<()> {
        self.child = spawn(&program()?, scratch)?;
        self.road = Arc::new(register(self.road.address, &self.key)?);
        Ok(())
    }

    /// For a thread that opens tunnels.
    pub(crate) fn opener(&self) -> TunnelOpener {
        TunnelOpener(Arc::clone(&self.road))
    }

    /// Its number.
    pub(crate) fn process(&self) -> u32 {
        self.child.id()
    }
}

fn program() -> anyhow::Result<PathBuf> {
    let program = std::env::var_os("CLOUDTASER_BEACON").map(PathBuf::from);
    program.context("CLOUDTASER_BEACON is not set: use `cargo xtask bench`")
}

fn spawn(program: &Path, scratch: &Path) -> anyhow::Result<Child> {
    let mut command = Command::new(program);
    command.args(["serve", "--config", "beacon.toml"]).current_dir(scratch);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().context("cannot start the beacon")
}

/// Proves a bridge's key and keeps the control connection alive in a thread of its own.
fn register(address: SocketAddr, beacon: &KeyPair) -> anyhow::Result<Road> {
    let began = Instant::now();
    let stream = loop {
        match dial(address) {
            Ok(stream) => break stream,
            Err(error) => ensure!(began.elapsed() < ends::PATIENCE, "no beacon: {error:#}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let digest = Digest::new()?;
    let (bridge, client) = (KeyPair::generate()?.0, KeyPair::generate()?.0);
    let mut config = raw::client_config(&bridge, beacon.public())?;
    config.alpn_protocols = vec![frame::PROTOCOL.to_vec()];
    let name = ServerName::try_from(format!("{}.{DOMAIN}", frame::LABEL))?;
    let mut control = StreamOwned::new(ClientConnection::new(Arc::new(config), name)?, stream);
    let day = Epoch::of(now());
    let day_key = TicketSecret::new(&TICKETS).day(digest, day.0);
    say(
        &mut control,
        &[
            BridgeToBeacon::Register { version: frame::VERSION, legs: LEGS, epochs: vec![day.0] },
            BridgeToBeacon::DayKey { day: day.0, key: KeyBytes(day_key.expose()) },
            BridgeToBeacon::Credit { tunnels: 1_000_000 },
        ],
    )?;
    let mut received = Vec::new();
    let session = match hear(&mut control, &mut received)? {
        BeaconToBridge::Registered { session, .. } => session,
        other => bail!("the beacon says {other:?}"),
    };
    let leg_key = control.conn.export_keying_material([0; MacKey::LEN], EXPORTER_LABEL, None)?;
    // WANT is not answered: the ends dial for themselves.
    control.sock.set_read_timeout(None)?;
    std::thread::spawn(move || {
        while let Ok(heard) = hear(&mut control, &mut received) {
            let BeaconToBridge::Ping(echo) = heard else { continue };
            if say(&mut control, &[BridgeToBeacon::Pong(echo)]).is_err() {
                return;
            }
        }
    });
    Ok(Road {
        address,
        digest,
        id: RendezvousId::new(digest, &bridge.public(), day),
        day: day.0,
        key: day_key.client(digest, TAG, MOST),
        hello: raw::client_config(&client, bridge.public())?,
        session,
        leg_key: MacKey::new(&leg_key),
        counter: AtomicU64::new(0),
    })
}

type Control = StreamOwned<ClientConnection, TcpStream>;

fn say(control: &mut Control, frames: &[BridgeToBeacon]) -> anyhow::Result<()> {
    let mut bytes = Vec::new();
    frames.iter().for_each(|frame| frame.encode(&mut bytes));
    control.write_all(&bytes)?;
    Ok(control.flush()?)
}

fn hear(control: &mut Control, received: &mut Vec<u8>) -> anyhow::Result<BeaconToBridge> {
    loop {
        if let Some(frame) = BeaconToBridge::decode(received)? {
            return Ok(frame);
        }
        let mut part = [0; 1024];
        let len = control.read(&mut part)?;
        ensure!(len > 0, "the beacon has gone");
        received.extend_from_slice(part.get(..len).unwrap_or_default());
    }
}

#[expect(clippy::disallowed_methods, reason = "tickets have a time")]
fn now() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

impl Road {
    /// A hello with a fresh ticket.
    fn hello(&self) -> anyhow::Result<Vec<u8>> {
        let mut nonce = [0; 12];
        cloudtaser_tls::random(&mut nonce)?;
        let issued_at = u32::try_from(now())?;
        let ticket = Ticket { tag: TAG, day: self.day, max_tunnels: MOST, issued_at, nonce };
        let mut config = self.hello.clone();
        let ticket = self.key.protocol(self.digest, &self.id, &ticket);
        config.alpn_protocols = vec![ticket, b"ct-proxy/1".to_vec()];
        let name = ServerName::try_from(self.id.server_name(DOMAIN))?;
        let mut bytes = Vec::new();
        ClientConnection::new(Arc::new(config), name)?.write_tls(&mut bytes)?;
        Ok(bytes)
    }

    fn leg(&self) -> anyhow::Result<TcpStream> {
        let mut leg = dial(self.address)?;
        let counter = self.counter.fetch_add(1, Ordering::Relaxed);
        leg.write_all(&Preamble::encode(self.digest, &self.leg_key, self.session, counter))?;
        Ok(leg)
    }
}

impl Relay for Beacon {
    fn name(&self) -> &'static str {
        "cloudtaser-beacon"
    }

    fn version(&self) -> String {
        env!("CARGO_PKG_VERSION").to_owned()
    }

    fn pid(&self) -> Option<u32> {
        Some(self.child.id())
    }

    fn tunnel(&mut self) -> anyhow::Result<Tunnel> {
        let mut far = self.road.leg()?;
        let mut near = dial(self.road.address)?;
        near.write_all(&self.road.hello()?)?;
        far.read_exact(&mut [0; GO_LEN])?;
        ends::read_record(&mut far)?;
        settle(&mut near, &mut far)?;
        Ok((near, far))
    }

    /// As many legs as a bridge keeps, so that a client finds one.
    fn answerers(&self) -> usize {
        LEGS.into()
    }

    fn near(&self) -> anyhow::Result<Opener> {
        let road = Arc::clone(&self.road);
        Ok(Box::new(move || {
            let hello = road.hello()?;
            let mut near = dial(road.address)?;
            near.write_all(&hello)?;
            Ok(near.read_exact(&mut [0])?)
        }))
    }

    fn far(&self) -> anyhow::Result<Opener> {
        let road = Arc::clone(&self.road);
        Ok(Box::new(move || {
            let mut far = road.leg()?;
            far.set_read_timeout(Some(Duration::from_millis(WAIT_MS.into())))?;
            far.read_exact(&mut [0; GO_LEN])?;
            far.set_read_timeout(Some(ends::PATIENCE))?;
            hello_and_answer(&mut far)
        }))
    }
}

impl Drop for Beacon {
    fn drop(&mut self) {
        // It may have ended already.
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}
