//! The way of bytes through the beacon: small ones are copied, big ones are spliced.
//!
//! A read goes into one buffer per thread, so a tunnel on which nothing happens owns no memory. Two
//! full reads in a row mean bulk: then a pipe is borrowed, and the bytes stay in the kernel until
//! the source is dry.
//!
//! Invariant: a pipe goes back to the others only when it is empty; one that is not is closed, or
//! bytes of one tunnel would come out of another.

use std::{
    cell::RefCell,
    collections::VecDeque,
    future::poll_fn,
    io,
    os::fd::{AsFd, OwnedFd},
    pin::pin,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use nix::{
    fcntl::{FcntlArg, OFlag, SpliceFFlags, fcntl, splice},
    sys::socket,
    unistd::pipe2,
};
use tokio::{
    io::Interest,
    net::TcpStream,
    time::{Instant, sleep},
};

use crate::net;

const BUFFER_LEN: usize = 64 << 10;
/// Reads that fill the buffer before a pipe is taken.
const FULL_READS: u32 = 2;
const PIPE_LEN: i32 = 256 << 10;
const SPLICE_LEN: usize = 256 << 10;
/// The kernel gives one user 16,384 pages of pipe before it makes them smaller; this is half.
const MAX_PIPES: usize = 128;

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; BUFFER_LEN]);
}

/// What went through, readable while it goes on.
#[derive(Debug, Default)]
pub(crate) struct Moved {
    pub(crate) copied: AtomicU64,
    pub(crate) spliced: AtomicU64,
}

impl Moved {
    /// So many were copied before.
    pub(crate) const fn after(copied: u64) -> Self {
        Self { copied: AtomicU64::new(copied), spliced: AtomicU64::new(0) }
    }

    /// Both together.
    pub(crate) fn total(&self) -> u64 {
        self.copied.load(Ordering::Relaxed).saturating_add(self.spliced.load(Ordering::Relaxed))
    }
}

/// Pipes that wait for work.
#[derive(Debug, Default)]
pub(crate) struct Pipes(Mutex<Spare>);

#[derive(Debug, Default)]
struct Spare {
    idle: Vec<Pipe>,
    made: usize,
}

#[derive(Debug)]
struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
}

/// A pipe on loan.
struct Loan<'a> {
    pipes: &'a Pipes,
    pipe: Option<Pipe>,
    left: usize,
}

impl Pipes {
    /// `None` where all are taken or none can be made: bytes are copied then.
    fn borrow(&self) -> Option<Loan<'_>> {
        let mut spare = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let pipe = match spare.idle.pop() {
            Some(pipe) => pipe,
            None if spare.made < MAX_PIPES => {
                let pipe = Pipe::new().ok()?;
                spare.made += 1;
                pipe
            }
            None => return None,
        };
        Some(Loan { pipes: self, pipe: Some(pipe), left: 0 })
    }
}

impl Pipe {
    fn new() -> nix::Result<Self> {
        let (read, write) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
        // A smaller pipe works as well, only with more calls.
        let _smaller = fcntl(&write, FcntlArg::F_SETPIPE_SZ(PIPE_LEN));
        Ok(Self { read, write })
    }
}

impl Drop for Loan<'_> {
    fn drop(&mut self) {
        let mut spare = self.pipes.0.lock().unwrap_or_else(PoisonError::into_inner);
        match self.pipe.take() {
            // SECURITY: what is left in it belongs to this tunnel and to no other.
            Some(pipe) if self.left == 0 => spare.idle.push(pipe),
            _ => spare.made = spare.made.saturating_sub(1),
        }
    }
}

/// How long a tunnel may live.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) half_open: Duration,
    pub(crate) age: Duration,
}

/// Why a tunnel ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum End {
    /// It was older than tunnels may be.
    Age,
    /// One side failed, and the other was told so by a reset.
    Broken,
    /// Both sides said that they had no more to say.
    Clean,
    /// One side had ended, and the other did not follow.
    HalfOpen,
}

/// Two connections, and what has been taken out of the first for the second.
#[derive(Debug)]
pub(crate) struct Joined<'a> {
    pub(crate) client: &'a TcpStream,
    pub(crate) leg: &'a TcpStream,
    /// Goes to the leg before everything else.
    pub(crate) first: Vec<u8>,
}

/// Carries bytes both ways until both ends are done or one fails.
///
/// All of an idle tunnel is in here once: two words for each way, and one timer.
pub(crate) async fn relay(
    Joined { client, leg, first }: Joined<'_>,
    pipes: &Pipes,
    (up, down): (&Moved, &Moved),
    limits: Limits,
) -> End {
    let (mut ascending, mut descending) = (OneWay::after(first), OneWay::after(Vec::new()));
    let mut deadline = pin!(sleep(limits.age));
    let mut on_expiry = End::Age;
    let end = poll_fn(|context| {
        let last = descending.is_ended();
        let ascended = ascending.poll(context, (client, leg), pipes, up, last);
        let last = ascending.is_ended();
        let descended = descending.poll(context, (leg, client), pipes, down, last);
        match (ascended, descended) {
            (Poll::Ready(Err(_broken)), _) | (_, Poll::Ready(Err(_broken))) => {
                return Poll::Ready(End::Broken);
            }
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => return Poll::Ready(End::Clean),
            (Poll::Pending, Poll::Pending) => {}
            // One has ended, and the other may go on for a while.
            _ => {
                let until = Instant::now() + limits.half_open;
                if on_expiry == End::Age && until < deadline.deadline() {
                    on_expiry = End::HalfOpen;
                    deadline.as_mut().reset(until);
                }
            }
        }
        deadline.as_mut().poll(context).map(|()| on_expiry)
    })
    .await;
    if end != End::Clean {
        // A failure of one side must not look like an end to the other.
        net::reset(client);
        net::reset(leg);
    }
    end
}

/// One way of a tunnel.
struct OneWay<'a> {
    state: State<'a>,
    full_reads: u32,
}

/// Boxed is what a tunnel does not need on which nothing happens.
enum State<'a> {
    /// Everything that came was said, and to the other side that it is all.
    Ended,
    /// Nothing is on its way.
    Reading,
    /// A pipe is on loan.
    Splicing(Box<Loan<'a>>),
    /// The sink did not take this yet.
    Writing(Box<Rest>),
}

/// What the sink did not take.
struct Rest(VecDeque<u8>);

impl<'a> OneWay<'a> {
    fn after(first: Vec<u8>) -> Self {
        let state = if first.is_empty() { State::Reading } else { State::writing(first) };
        Self { state, full_reads: 0 }
    }

    const fn is_ended(&self) -> bool {
        matches!(self.state, State::Ended)
    }

    /// Carries on until there is nothing to do; done where the source has ended. With the `last` of
    /// the two ways both connections are closed, which tells the sink as well.
    fn poll(
        &mut self,
        context: &mut Context<'_>,
        (from, to): (&TcpStream, &TcpStream),
        pipes: &'a Pipes,
        moved: &Moved,
        last: bool,
    ) -> Poll<io::Result<()>> {
        loop {
            let source = match &mut self.state {
                State::Ended => return Poll::Ready(Ok(())),
                State::Writing(rest) => {
                    ready!(rest.poll_write(context, to))?;
                    Source::Dry
                }
                State::Splicing(loan) => ready!(loan.poll(context, from, to, moved))?,
                State::Reading if self.full_reads >= FULL_READS => {
                    self.full_reads = 0;
                    if let Some(loan) = pipes.borrow() {
                        self.state = State::Splicing(Box::new(loan));
                    }
                    continue;
                }
                State::Reading => {
                    ready!(from.poll_read_ready(context))?;
                    match BUFFER.with_borrow_mut(|buffer| copy(from, to, buffer))? {
                        Step::Dry => Source::Dry,
                        Step::End => Source::Ended,
                        Step::Copied { len, rest } => {
                            moved.copied.fetch_add(len as u64, Ordering::Relaxed);
                            let full = len == BUFFER_LEN;
                            self.full_reads = if full { self.full_reads + 1 } else { 0 };
                            if !rest.is_empty() {
                                self.state = State::writing(rest);
                            }
                            continue;
                        }
                    }
                }
            };
            self.state = match source {
                Source::Dry => State::Reading,
                Source::Ended if last => State::Ended,
                Source::Ended => {
                    shut_down(to)?;
                    State::Ended
                }
            };
        }
    }
}

impl State<'_> {
    fn writing(rest: Vec<u8>) -> Self {
        Self::Writing(Box::new(Rest(rest.into())))
    }
}

enum Step {
    Copied { len: usize, rest: Vec<u8> },
    Dry,
    End,
}

/// One read and one write; what the sink did not take is given back in memory of its own.
fn copy(from: &TcpStream, to: &TcpStream, buffer: &mut [u8]) -> io::Result<Step> {
    let len = match net::read(from, buffer) {
        Ok(0) => return Ok(Step::End),
        Ok(len) => len,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Step::Dry),
        Err(error) => return Err(error),
    };
    let read = buffer.get(..len).unwrap_or_default();
    let taken = match to.try_write(read) {
        Ok(taken) => taken,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
        Err(error) => return Err(error),
    };
    Ok(Step::Copied { len, rest: read.get(taken..).unwrap_or_default().to_vec() })
}

impl Rest {
    fn poll_write(&mut self, context: &mut Context<'_>, to: &TcpStream) -> Poll<io::Result<()>> {
        let Self(rest) = self;
        while !rest.is_empty() {
            ready!(to.poll_write_ready(context))?;
            match to.try_write(rest.as_slices().0) {
                Ok(taken) => drop(rest.drain(..taken.min(rest.len()))),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Ready(Ok(()))
    }
}

#[derive(Eq, PartialEq)]
enum Source {
    Dry,
    Ended,
}

impl Loan<'_> {
    /// Carries on until the source is dry or has ended; the pipe is empty then.
    fn poll(
        &mut self,
        context: &mut Context<'_>,
        from: &TcpStream,
        to: &TcpStream,
        moved: &Moved,
    ) -> Poll<io::Result<Source>> {
        let Some(pipe) = &self.pipe else { return Poll::Ready(Ok(Source::Dry)) };
        loop {
            while self.left > 0 {
                // The pipe is not empty here, so "would block" can only mean that the sink is full.
                ready!(to.poll_write_ready(context))?;
                let left = self.left;
                match to.try_io(Interest::WRITABLE, || transfer(&pipe.read, to, left)) {
                    Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                    Ok(taken) => self.left -= taken.min(left),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => return Poll::Ready(Err(error)),
                }
            }
            // The pipe is empty here, so "would block" can only mean that the source is dry.
            let filled =
                from.try_io(Interest::READABLE, || transfer(from, &pipe.write, SPLICE_LEN));
            self.left = match filled {
                Ok(0) => return Poll::Ready(Ok(Source::Ended)),
                Ok(len) => len,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Poll::Ready(Ok(Source::Dry));
                }
                Err(error) => return Poll::Ready(Err(error)),
            };
            moved.spliced.fetch_add(self.left as u64, Ordering::Relaxed);
        }
    }
}

fn transfer(from: impl AsFd, to: impl AsFd, len: usize) -> io::Result<usize> {
    let flags = SpliceFFlags::SPLICE_F_MOVE | SpliceFFlags::SPLICE_F_NONBLOCK;
    Ok(splice(from, None, to, None, len, flags)?)
}

fn shut_down(stream: &TcpStream) -> io::Result<()> {
    use std::os::fd::AsRawFd as _;
    Ok(socket::shutdown(stream.as_raw_fd(), socket::Shutdown::Write)?)
}
