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
    io,
    os::fd::{AsFd, OwnedFd},
    pin::pin,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use nix::{
    fcntl::{FcntlArg, OFlag, SpliceFFlags, fcntl, splice},
    sys::socket,
    unistd::pipe2,
};
use tokio::{io::Interest, net::TcpStream, task::coop::consume_budget, time::timeout};

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

/// Carries bytes both ways until both ends are done or one fails.
pub(crate) async fn relay(
    client: &TcpStream,
    leg: &TcpStream,
    pipes: &Pipes,
    (up, down): (&Moved, &Moved),
    limits: Limits,
) -> End {
    // Not bound to a name first: it would have its place twice.
    let end = timeout(limits.age, async {
        let mut ascending = pin!(one_way(client, leg, pipes, up));
        let mut descending = pin!(one_way(leg, client, pipes, down));
        let rest = tokio::select! {
            // Boxed, as all that an idle tunnel does not need.
            first = &mut ascending => match first {
                Ok(()) => Box::pin(timeout(limits.half_open, descending)).await,
                Err(error) => Ok(Err(error)),
            },
            first = &mut descending => match first {
                Ok(()) => Box::pin(timeout(limits.half_open, ascending)).await,
                Err(error) => Ok(Err(error)),
            },
        };
        match rest {
            Ok(Ok(())) => End::Clean,
            Ok(Err(_broken)) => End::Broken,
            Err(_late) => End::HalfOpen,
        }
    })
    .await
    .unwrap_or(End::Age);
    if end != End::Clean {
        // A failure of one side must not look like an end to the other.
        net::reset(client);
        net::reset(leg);
    }
    end
}

async fn one_way(from: &TcpStream, to: &TcpStream, pipes: &Pipes, moved: &Moved) -> io::Result<()> {
    let mut full_reads = 0;
    loop {
        from.readable().await?;
        let step = BUFFER.with_borrow_mut(|buffer| copy(from, to, buffer))?;
        match step {
            Step::Dry => continue,
            Step::End => return shut_down(to),
            Step::Copied { len, rest } => {
                if !rest.is_empty() {
                    Box::pin(write_all(to, rest)).await?;
                }
                moved.copied.fetch_add(len as u64, Ordering::Relaxed);
                full_reads = if len == BUFFER_LEN { full_reads + 1 } else { 0 };
            }
        }
        if full_reads >= FULL_READS {
            full_reads = 0;
            if let Some(loan) = pipes.borrow()
                // Boxed, so that the tunnels that never carry bulk stay small.
                && Box::pin(splice_until_dry(from, to, loan, moved)).await? == Source::Ended
            {
                return shut_down(to);
            }
        }
        consume_budget().await;
    }
}

enum Step {
    Copied { len: usize, rest: Vec<u8> },
    Dry,
    End,
}

/// One read and one write; what the sink did not take is given back in memory of its own.
fn copy(from: &TcpStream, to: &TcpStream, buffer: &mut [u8]) -> io::Result<Step> {
    let len = match from.try_read(buffer) {
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

async fn write_all(to: &TcpStream, rest: Vec<u8>) -> io::Result<()> {
    let mut rest = &*rest;
    while !rest.is_empty() {
        to.writable().await?;
        match to.try_write(rest) {
            Ok(taken) => rest = rest.get(taken..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[derive(Eq, PartialEq)]
enum Source {
    Dry,
    Ended,
}

async fn splice_until_dry(
    from: &TcpStream,
    to: &TcpStream,
    mut loan: Loan<'_>,
    moved: &Moved,
) -> io::Result<Source> {
    let Some(pipe) = &loan.pipe else { return Ok(Source::Dry) };
    loop {
        // The pipe is empty here, so "would block" can only mean that the source is dry.
        let filled = from.try_io(Interest::READABLE, || transfer(from, &pipe.write, SPLICE_LEN));
        loan.left = match filled {
            Ok(0) => return Ok(Source::Ended),
            Ok(len) => len,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Source::Dry),
            Err(error) => return Err(error),
        };
        moved.spliced.fetch_add(loan.left as u64, Ordering::Relaxed);
        while loan.left > 0 {
            // The pipe is not empty here, so "would block" can only mean that the sink is full.
            let left = loan.left;
            let taken = to.async_io(Interest::WRITABLE, || transfer(&pipe.read, to, left)).await?;
            if taken == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            loan.left -= taken.min(left);
        }
        consume_budget().await;
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
