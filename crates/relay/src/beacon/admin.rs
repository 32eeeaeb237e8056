//! Metrics and health, on an address of their own that the public never reaches.
//!
//! Not a web server: one request, one answer, and the connection ends.

use std::{io, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};

use super::Shared;

const PATIENCE: Duration = Duration::from_secs(5);
const MAX_REQUEST_LEN: usize = 4096;

pub(super) async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let shared = Arc::clone(&shared);
                tokio::spawn(async move {
                    let _gone = timeout(PATIENCE, answer(stream, &shared)).await;
                });
            }
            Err(_error) => sleep(Duration::from_millis(100)).await,
        }
    }
}

async fn answer(mut stream: TcpStream, shared: &Shared) -> io::Result<()> {
    let mut request = Vec::new();
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        if request.len() > MAX_REQUEST_LEN || stream.read_buf(&mut request).await? == 0 {
            return Ok(());
        }
    }
    let path = request.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
    let (status, body) = match path {
        b"/metrics" => ("200 OK", shared.metrics.text()),
        b"/healthz" => ("200 OK", "ok\n".to_owned()),
        b"/readyz" if *shared.draining.borrow() => {
            ("503 Service Unavailable", "draining\n".to_owned())
        }
        b"/readyz" => ("200 OK", "ok\n".to_owned()),
        _ => ("404 Not Found", "there are /metrics, /healthz and /readyz\n".to_owned()),
    };
    let answer = format!(
        "HTTP/1.1 {status}\r\ncontent-type: text/plain; charset=utf-8\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await
}
