//! Ways past whoever judges where a packet goes.

use std::net::{SocketAddrV4, UdpSocket};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};

use nix::errno::Errno;

/// Sends a datagram to an IPv4 address under the family `AF_UNSPEC`, which the kernel takes for
/// IPv4 here and for "nowhere" elsewhere.
///
/// # Errors
/// `EPERM` where it is forbidden, `ENETUNREACH` where no road leads there.
pub fn send_unspecified(socket: &UdpSocket, to: SocketAddrV4, bytes: &[u8]) -> Result<(), Errno> {
    send(socket.as_fd(), 0, 0, to, bytes)
}

/// Connects and sends with one call (TCP Fast Open).
///
/// # Errors
/// As [`send_unspecified`], and `EINPROGRESS` where the other end is waited for.
pub fn send_fast(socket: BorrowedFd<'_>, to: SocketAddrV4, bytes: &[u8]) -> Result<(), Errno> {
    let family = u16::try_from(libc::AF_INET).map_err(|_never| Errno::EINVAL)?;
    send(socket, family, libc::MSG_FASTOPEN, to, bytes)
}

fn send(
    socket: BorrowedFd<'_>,
    family: u16,
    flags: i32,
    to: SocketAddrV4,
    bytes: &[u8],
) -> Result<(), Errno> {
    let address = libc::sockaddr_in {
        sin_family: family,
        sin_port: to.port().to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from(*to.ip()).to_be() },
        sin_zero: [0; 8],
    };
    let len = u32::try_from(size_of_val(&address)).map_err(|_never| Errno::EINVAL)?;
    // SAFETY: bytes and address are live for the call, and their sizes are passed.
    Errno::result(unsafe {
        libc::sendto(
            socket.as_raw_fd(),
            bytes.as_ptr().cast(),
            bytes.len(),
            flags,
            (&raw const address).cast(),
            len,
        )
    })
    .map(drop)
}
