//! A door of this machine: who connects there is at OpenBao, by a session of his own.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
};
use tracing::{info, warn};

use super::Client;
use crate::net;

/// A door of this machine behind which is OpenBao.
#[derive(Debug)]
pub struct Proxy {
    client: Arc<Client>,
    listener: TcpListener,
    patience: Duration,
}

impl Proxy {
    /// Listens; must be called within a runtime.
    ///
    /// # Errors
    /// What the kernel says.
    pub async fn bind(
        client: impl Into<Arc<Client>>,
        address: SocketAddr,
        patience: Duration,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        Ok(Self { client: client.into(), listener, patience })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Carries each connection in a session of its own, until told to stop.
    pub async fn serve(self, stop: impl Future<Output = ()>) {
        let accept = async {
            loop {
                let (stream, _) = net::accept(&self.listener).await;
                tokio::spawn(carry(Arc::clone(&self.client), stream, self.patience));
            }
        };
        tokio::select! {
            () = accept => {}
            () = stop => {}
        }
    }
}

async fn carry(client: Arc<Client>, mut stream: TcpStream, patience: Duration) {
    let opened = client.open(patience).await;
    let done = match opened {
        Ok(mut session) => copy_bidirectional(&mut stream, &mut session).await,
        Err(error) => {
            net::reset(&stream);
            return warn!(error = crate::log::chain(&error), "no session");
        }
    };
    match done {
        Ok((up_bytes, down_bytes)) => info!(up_bytes, down_bytes, "connection ended"),
        Err(error) => {
            // A failure on the way must not look like an end to the app.
            net::reset(&stream);
            warn!(error = %error, "connection broke");
        }
    }
}
