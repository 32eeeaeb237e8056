//! The glue between ureq and our TLS. ureq's traits for it may change between minor versions, which
//! is why its version is held.

use std::{
    fmt,
    io::{Read as _, Write as _},
};

use cloudtaser_tls::TlsClient;
use rustls::{ClientConnection, StreamOwned};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, TcpConnector, Transport,
    TransportAdapter,
};

/// Opens TCP and speaks TLS over it, whatever the address says.
#[derive(Debug)]
pub(super) struct Dial(pub(super) TlsClient);

impl Connector<()> for Dial {
    type Out = Encrypted;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        _chained: Option<()>,
    ) -> Result<Option<Self::Out>, ureq::Error> {
        let Some(tcp) = TcpConnector::default().connect(details, None::<()>)? else {
            return Ok(None);
        };
        let host = details.uri.host().unwrap_or_default();
        let name = self.0.name_for(host).map_err(|error| ureq::Error::Other(Box::new(error)))?;
        let mut session = ClientConnection::new(self.0.config(), name)?;
        let tcp: Box<dyn Transport> = Box::new(tcp);
        let mut socket = TransportAdapter::new(tcp, details.current_time.clone());
        socket.set_timeout(details.timeout);
        while session.is_handshaking() {
            session.complete_io(&mut socket)?;
        }
        let config = details.config;
        let buffers = LazyBuffers::new(config.input_buffer_size(), config.output_buffer_size());
        Ok(Some(Encrypted { buffers, stream: StreamOwned::new(session, socket) }))
    }
}

/// TLS over another transport.
pub(super) struct Encrypted {
    buffers: LazyBuffers,
    stream: StreamOwned<ClientConnection, TransportAdapter>,
}

impl Transport for Encrypted {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        self.stream.sock.set_timeout(timeout);
        let output = self.buffers.output().get(..amount).unwrap_or(&[]);
        self.stream.write_all(output)?;
        Ok(self.stream.flush()?)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        self.stream.sock.set_timeout(timeout);
        let len = self.stream.read(self.buffers.input_append_buf())?;
        self.buffers.input_appended(len);
        Ok(len > 0)
    }

    fn is_open(&mut self) -> bool {
        self.stream.sock.get_mut().is_open()
    }

    fn is_tls(&self) -> bool {
        true
    }
}

impl fmt::Debug for Encrypted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encrypted").finish_non_exhaustive()
    }
}
