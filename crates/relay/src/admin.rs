//! Metrics and health, on an address of their own that the public never reaches.
//!
//! Not a web server: one request, one answer, and the connection ends.

use std::{io, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::timeout,
};

use crate::net;

const PATIENCE: Duration = Duration::from_secs(5);
/// Those who ask are a few, and each is gone within [`PATIENCE`].
const MAX_CONNECTIONS: usize = 64;
const MAX_REQUEST_LEN: usize = 4096;

/// A status line's words and a body.
pub(crate) type Answer = (&'static str, String);

pub(crate) const fn good(body: String) -> Answer {
    ("200 OK", body)
}

pub(crate) fn unready(why: &str) -> Answer {
    ("503 Service Unavailable", why.to_owned())
}

pub(crate) fn unknown() -> Answer {
    ("404 Not Found", "there are /metrics, /healthz and /readyz\n".to_owned())
}

pub(crate) async fn serve(
    listener: TcpListener,
    page: impl Fn(&[u8]) -> Answer + Send + Sync + 'static,
) {
    let page = Arc::new(page);
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let (stream, _) = net::accept(&listener).await;
        // Whoever gets this far must not have all descriptors of the program.
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else { continue };
        let page = Arc::clone(&page);
        tokio::spawn(async move {
            let _gone = timeout(PATIENCE, answer(stream, &*page)).await;
            drop(place);
        });
    }
}

async fn answer(mut stream: TcpStream, page: &(impl Fn(&[u8]) -> Answer + Sync)) -> io::Result<()> {
    let mut request = Vec::new();
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        if request.len() > MAX_REQUEST_LEN || stream.read_buf(&mut request).await? == 0 {
            return Ok(());
        }
    }
    let (status, body) = page(request.split(|byte| *byte == b' ').nth(1).unwrap_or_default());
    let answer = format!(
        "HTTP/1.1 {status}\r\ncontent-type: text/plain; charset=utf-8\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await
}
