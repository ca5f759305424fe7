//! How sessions are secured: TLS as libpq's `sslmode` means it.
//!
//! # Guarantees
//! - `require` and the verifying modes never send anything of the session in the clear.
//! - `prefer` goes on in the clear only where the server answers that it speaks no TLS.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::{fmt, io};

use ferriswheel_plan::policy::TlsMode;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::config::SslMode;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::databases::tls::{TlsError, client, name_of};
use crate::dial::Stream;

/// How the sessions of one kind are secured.
#[derive(Clone)]
pub struct Tls {
    mode: TlsMode,
    name: Option<String>,
    connect: MakeRustlsConnect,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("mode", &self.mode)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Tls {
    /// `authority` is a file of certificates in PEM; `name` is what the server's certificate must
    /// have, with [`crate::databases::tls::POD`] for the name of the pod.
    ///
    /// # Errors
    /// See [`TlsError`].
    pub fn new(
        mode: TlsMode,
        authority: Option<&[u8]>,
        name: Option<String>,
    ) -> Result<Self, TlsError> {
        Ok(Self {
            mode,
            name,
            connect: MakeRustlsConnect::new(client(mode, authority)?),
        })
    }

    /// What is negotiated.
    pub(super) fn mode(&self) -> SslMode {
        match self.mode {
            TlsMode::Disable => SslMode::Disable,
            TlsMode::Prefer => SslMode::Prefer,
            TlsMode::Require | TlsMode::VerifyCa | TlsMode::VerifyFull => SslMode::Require,
        }
    }

    /// The handshake with one pod.
    pub(super) fn connect(
        &self,
        pod: &str,
    ) -> Result<<MakeRustlsConnect as MakeTlsConnect<Carrier>>::TlsConnect, String> {
        let name = name_of(self.name.as_deref(), pod);
        let mut connect = self.connect.clone();
        <MakeRustlsConnect as MakeTlsConnect<Carrier>>::make_tls_connect(&mut connect, &name)
            .map_err(|e| format!("`{name}` is not a name that a certificate can have: {e}"))
    }
}

/// What carries a session. A type without lifetimes, which the traits of the handshake want.
pub(super) struct Carrier(pub(super) Box<dyn Stream>);

impl AsyncRead for Carrier {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for Carrier {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
