//! What stands between the ends: nothing, the beacon, and what others put there.

use std::fs;
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use nix::poll::{PollFd, PollFlags, poll};

use super::alone::most_tunnels;
use super::beacon::Beacon;
use super::ends::{self, Tunnel, dial, free_port, prepared, read_record, settle};
use super::measure::OPENERS;
use crate::ui;

/// Something between two ends.
pub(crate) trait Relay {
    /// Who it is.
    fn name(&self) -> &'static str;
    /// Which.
    fn version(&self) -> String;
    /// The process whose CPU and memory are counted; none where there is no relay.
    fn pid(&self) -> Option<u32>;
    /// All processes between the ends.
    fn processes(&self) -> Vec<u32> {
        self.pid().into_iter().collect()
    }
    /// One more tunnel, which stands when this returns.
    fn tunnel(&mut self) -> anyhow::Result<Tunnel>;
    /// What a thread needs that opens and closes tunnels, as one end.
    fn near(&self) -> anyhow::Result<Opener>;
    /// The same as the other end.
    fn far(&self) -> anyhow::Result<Opener>;
    /// How many of them there are.
    fn answerers(&self) -> usize {
        OPENERS
    }
}

/// Opens, settles and closes one connection.
pub(crate) type Opener = Box<dyn FnMut() -> anyhow::Result<()> + Send>;

/// How long a far end waits for a near one before it looks whether all is over.
pub(crate) const WAIT_MS: u16 = 100;

/// As long as a hello of the hybrid exchange, so that all relays carry the same to begin with.
const HELLO_LEN: usize = 1600;
/// What a tunnel begins with where there is no hello.
const MARK_LEN: usize = 8;

/// All that can be had here; says which cannot.
pub(crate) fn all(scratch: &Path) -> anyhow::Result<Vec<Box<dyn Relay>>> {
    let mut relays: Vec<Box<dyn Relay>> = vec![Box::new(Plain::direct()?)];
    relays.push(Box::new(Beacon::start(scratch)?));
    let made: [(&str, Made); 4] = [
        ("haproxy", Plain::haproxy_copying),
        ("haproxy", Plain::haproxy_splicing),
        ("nginx", Plain::nginx),
        ("rathole", Plain::rathole),
    ];
    for (program, make) in made {
        match found(program) {
            Some(path) => relays.push(Box::new(make(&path, scratch)?)),
            None => ui::say(&format!("SKIP: there is no {program} here")),
        }
    }
    Ok(relays)
}

type Made = fn(&Path, &Path) -> anyhow::Result<Plain>;

fn found(program: &str) -> Option<PathBuf> {
    let folders = std::env::var_os("CLOUDTASER_BENCH_TOOLS").into_iter().map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    let all = folders.chain(std::env::split_paths(&path)).chain(usual);
    all.map(|folder| folder.join(program)).find(|path| path.is_file())
}

/// A relay that connects to one address for whoever comes.
struct Plain {
    name: &'static str,
    version: String,
    front: SocketAddr,
    back: Arc<TcpListener>,
    children: Vec<Child>,
    /// Tunnels so far.
    opened: u64,
}

impl Plain {
    fn direct() -> anyhow::Result<Self> {
        let (back, front) = ends::listener()?;
        let (name, version) = ("no relay", String::new());
        Ok(Self { name, version, front, back: Arc::new(back), children: Vec::new(), opened: 0 })
    }

    fn haproxy_copying(program: &Path, scratch: &Path) -> anyhow::Result<Self> {
        Self::haproxy(program, scratch, "haproxy, copying", "")
    }

    fn haproxy_splicing(program: &Path, scratch: &Path) -> anyhow::Result<Self> {
        Self::haproxy(program, scratch, "haproxy, splicing", "option splice-auto\n")
    }

    fn haproxy(
        program: &Path,
        scratch: &Path,
        name: &'static str,
        option: &str,
    ) -> anyhow::Result<Self> {
        let most = most_tunnels()?;
        Self::start(name, version(program, "-v", ' ', 2)?, |front, back| {
            let config = format!(
                "global\n nbthread 1\n maxconn {most}\n maxpipes 200\ndefaults\n mode tcp\n timeout connect 5s\n \
                 timeout client 1h\n timeout server 1h\n {option}listen a\n bind 0.0.0.0:{front}\n \
                 server s {back}\n"
            );
            let file = scratch.join(format!("haproxy{front}.cfg"));
            fs::write(&file, config)?;
            let mut command = Command::new(program);
            command.args(["-db", "-f"]).arg(file);
            Ok(vec![command])
        })
    }

    fn nginx(program: &Path, scratch: &Path) -> anyhow::Result<Self> {
        let connections = 2 * most_tunnels()? + 100;
        Self::start("nginx, stream", version(program, "-v", '/', 1)?, |front, back| {
            let module = "/usr/lib/nginx/modules/ngx_stream_module.so";
            let load = if Path::new(module).is_file() {
                format!("load_module {module};\n")
            } else {
                String::new()
            };
            let folder = scratch.join("nginx");
            fs::create_dir_all(&folder)?;
            let place = folder.display();
            let config = format!(
                "{load}daemon off; master_process off; pid {place}/pid; error_log {place}/log;\n\
                 user root;\n\
                 events {{ worker_connections {connections}; }}\n\
                 stream {{ server {{ listen 0.0.0.0:{front} backlog=4096; proxy_pass {back}; \
                 proxy_timeout 1h; tcp_nodelay on; }} }}\n"
            );
            let file = folder.join("nginx.conf");
            fs::write(&file, config)?;
            let mut command = Command::new(program);
            command.arg("-p").arg(&folder).arg("-c").arg(file);
            Ok(vec![command])
        })
    }

    fn rathole(program: &Path, scratch: &Path) -> anyhow::Result<Self> {
        let control = free_port()?;
        let version = version(program, "--version", ' ', 1).unwrap_or_else(|_| "0.5".to_owned());
        Self::start("rathole", version, |front, back| {
            let server = scratch.join("rathole-server.toml");
            fs::write(
                &server,
                format!(
                    "[server]\nbind_addr = \"127.0.0.1:{control}\"\ndefault_token = \"bench\"\n\
                     [server.services.a]\nbind_addr = \"0.0.0.0:{front}\"\n"
                ),
            )?;
            let client = scratch.join("rathole-client.toml");
            fs::write(
                &client,
                format!(
                    "[client]\nremote_addr = \"127.0.0.1:{control}\"\ndefault_token = \"bench\"\n\
                     [client.services.a]\nlocal_addr = \"{back}\"\n"
                ),
            )?;
            let with = |file: &Path| {
                let mut command = Command::new(program);
                command.arg(file).env("RUST_LOG", "off").env("TOKIO_WORKER_THREADS", "1");
                command
            };
            Ok(vec![with(&server), with(&client)])
        })
    }

    fn start(
        name: &'static str,
        version: String,
        commands: impl FnOnce(u16, SocketAddr) -> anyhow::Result<Vec<Command>>,
    ) -> anyhow::Result<Self> {
        let (back, at) = ends::listener()?;
        let front = free_port()?;
        let mut children = Vec::new();
        for mut command in commands(front, at)? {
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            children.push(command.spawn().with_context(|| format!("cannot start {name}"))?);
        }
        let front = SocketAddr::from(([127, 0, 0, 1], front));
        let mut relay = Self { name, version, front, back: Arc::new(back), children, opened: 0 };
        let began = Instant::now();
        while let Err(error) = relay.tunnel() {
            ensure!(began.elapsed() < ends::PATIENCE, "{name} does not carry: {error:#}");
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(relay)
    }
}

impl Relay for Plain {
    fn name(&self) -> &'static str {
        self.name
    }

    fn version(&self) -> String {
        self.version.clone()
    }

    fn pid(&self) -> Option<u32> {
        self.children.first().map(Child::id)
    }

    fn processes(&self) -> Vec<u32> {
        self.children.iter().map(Child::id).collect()
    }

    fn tunnel(&mut self) -> anyhow::Result<Tunnel> {
        let mut near = dial(self.front)?;
        // Some connect to the back only when something has come. It is different for each, so that
        // a connection that was given up earlier and comes late is not taken for this one.
        self.opened += 1;
        let mark = self.opened.to_be_bytes();
        near.write_all(&mark)?;
        self.back.set_nonblocking(true)?;
        let began = Instant::now();
        loop {
            match self.back.accept() {
                Ok((far, _)) => {
                    far.set_nonblocking(false)?;
                    let mut far = prepared(far)?;
                    let mut first = [0; MARK_LEN];
                    if std::io::Read::read_exact(&mut far, &mut first).is_ok() && first == mark {
                        settle(&mut near, &mut far)?;
                        return Ok((near, far));
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    ensure!(began.elapsed() < Duration::from_secs(2), "nobody came out");
                    std::thread::sleep(Duration::from_micros(100));
                }
                Err(error) => bail!("cannot accept: {error}"),
            }
        }
    }

    fn near(&self) -> anyhow::Result<Opener> {
        let front = self.front;
        Ok(Box::new(move || {
            let mut near = dial(front)?;
            near.write_all(&[22; HELLO_LEN])?;
            Ok(std::io::Read::read_exact(&mut near, &mut [0])?)
        }))
    }

    fn far(&self) -> anyhow::Result<Opener> {
        let back = Arc::clone(&self.back);
        back.set_nonblocking(true)?;
        Ok(Box::new(move || {
            let mut waiting = [PollFd::new(back.as_fd(), PollFlags::POLLIN)];
            poll(&mut waiting, WAIT_MS)?;
            let far = back.accept()?.0;
            far.set_nonblocking(false)?;
            let mut far = prepared(far)?;
            std::io::Read::read_exact(&mut far, &mut [0; HELLO_LEN])?;
            Ok(far.write_all(&[1])?)
        }))
    }
}

impl Drop for Plain {
    fn drop(&mut self) {
        for child in &mut self.children {
            // It may have ended already.
            let _gone = child.kill();
            let _gone = child.wait();
        }
    }
}

/// The word with the version in what a program says of itself.
fn version(program: &Path, flag: &str, at: char, word: usize) -> anyhow::Result<String> {
    let output = Command::new(program).arg(flag).stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("cannot run {}", program.display()))?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    let version = text.lines().next().and_then(|line| line.split(at).nth(word));
    Ok(version.unwrap_or("?").trim().to_owned())
}

/// Keeps the compiler's eye on what both kinds of relay read.
pub(crate) fn hello_and_answer(far: &mut std::net::TcpStream) -> anyhow::Result<()> {
    read_record(far)?;
    Ok(far.write_all(&[1])?)
}
