//! TLS around a stream that never blocks (RFC 7011 section 11.3, RFC 5425): both ends show a certificate, the
//! collector's must be signed by the CA of the configuration and be for the name that it has. Until that is certain
//! nothing of ours is written.
//!
//! The files are read again for each session, so that renewed certificates need no restart.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::sync::Arc;

use aftr_config::{Target, Tls};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{AlertDescription, CertificateError, ClientConfig, ClientConnection, RootCertStore};

/// What a session with one target needs.
pub(super) struct Credentials {
    files: Tls,
    name: ServerName<'static>,
    config: Arc<ClientConfig>,
}

impl Credentials {
    /// Reads the files.
    ///
    /// # Errors
    /// One that cannot be read, or is not what it should be; the error names it.
    pub(super) fn read(files: &Tls, target: &Target) -> io::Result<Credentials> {
        let name = files.server_name.clone().unwrap_or_else(|| target.address.to_string());
        let name =
            ServerName::try_from(name).map_err(|error| io::Error::new(ErrorKind::InvalidInput, error))?;
        Ok(Credentials { files: files.clone(), name, config: read_config(files)? })
    }

    /// A session that has not begun. Files that cannot be read now are those of before.
    pub(super) fn session(&mut self) -> io::Result<Session> {
        match read_config(&self.files) {
            Ok(config) => self.config = config,
            Err(error) => tracing::warn!(%error, "TLS goes on with the certificates that were read before"),
        }
        let connection =
            ClientConnection::new(Arc::clone(&self.config), self.name.clone()).map_err(io::Error::other)?;
        Ok(Session { connection, name: self.name.to_str().into_owned(), is_ending: false })
    }
}

fn closed_in_handshake(error: io::Error) -> io::Error {
    if error.kind() != ErrorKind::UnexpectedEof {
        return error;
    }
    let why = "TLS: closed in the handshake: it speaks no TLS at this port, or refuses our certificate";
    io::Error::new(ErrorKind::InvalidData, why)
}

fn read_config(files: &Tls) -> io::Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(&files.ca_file)? {
        roots.add(certificate).map_err(|error| wrong(&files.ca_file, &error))?;
    }
    let chain = certificates(&files.certificate_file)?;
    let key =
        PrivateKeyDer::from_pem_file(&files.key_file).map_err(|error| wrong(&files.key_file, &error))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .map_err(|error| wrong(&files.certificate_file, &error))?;
    Ok(Arc::new(config))
}

fn certificates(file: &Path) -> io::Result<Vec<CertificateDer<'static>>> {
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let certificates = read.map_err(|error| wrong(file, &error))?;
    if certificates.is_empty() {
        return Err(wrong(file, &"it has no certificate in PEM"));
    }
    Ok(certificates)
}

fn wrong(file: &Path, error: &dyn std::fmt::Display) -> io::Error {
    io::Error::new(ErrorKind::InvalidInput, format!("{}: {error}", file.display()))
}

/// One session.
pub(super) struct Session {
    connection: ClientConnection,
    /// Of the target's certificate.
    name: String,
    /// Nothing more is written.
    is_ending: bool,
}

impl Session {
    /// Goes on with the handshake; whether it is over, and the target is who it should be.
    pub(super) fn is_trusted(&mut self, socket: &mut TcpStream) -> io::Result<bool> {
        while self.connection.is_handshaking() {
            self.put(socket)?;
            if self.connection.wants_write() || !self.get(socket).map_err(closed_in_handshake)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Writes what there is room for; `WouldBlock` when there is none.
    pub(super) fn write(&mut self, socket: &mut TcpStream, octets: &[u8]) -> io::Result<usize> {
        self.put(socket)?;
        if self.connection.wants_write() {
            return Err(ErrorKind::WouldBlock.into());
        }
        let written = self.connection.writer().write(octets)?;
        self.put(socket)?;
        Ok(written)
    }

    /// Whether the other end is still there; what it says is thrown away.
    pub(super) fn is_open(&mut self, socket: &mut TcpStream) -> io::Result<bool> {
        self.put(socket)?;
        if self.is_ending && !self.connection.wants_write() {
            self.is_ending = false;
            socket.shutdown(Shutdown::Write)?;
        }
        match self.get(socket) {
            Ok(_) => Ok(!self.has_ended()),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Says that nothing more comes.
    pub(super) fn finish(&mut self, socket: &mut TcpStream) -> io::Result<()> {
        self.connection.send_close_notify();
        self.is_ending = true;
        self.is_open(socket).map(|_| ())
    }

    /// Whether it waits for the other end, and not for room.
    pub(super) fn is_waiting(&self) -> bool {
        self.connection.is_handshaking() && !self.connection.wants_write()
    }

    fn has_ended(&mut self) -> bool {
        self.connection.process_new_packets().is_ok_and(|state| state.peer_has_closed())
    }

    /// Writes what waits, as far as there is room.
    fn put(&mut self, socket: &mut TcpStream) -> io::Result<()> {
        while self.connection.wants_write() {
            match self.connection.write_tls(socket) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Reads what is there; whether anything was.
    fn get(&mut self, socket: &mut TcpStream) -> io::Result<bool> {
        let mut has_read = false;
        loop {
            match self.connection.read_tls(socket) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(_) => has_read = true,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(has_read),
                Err(error) => return Err(error),
            }
            let state = match self.connection.process_new_packets() {
                Ok(state) => state,
                Err(error) => {
                    // The alert that says why.
                    let _ = self.put(socket);
                    return Err(io::Error::new(ErrorKind::InvalidData, self.cure(&error)));
                }
            };
            let mut thrown_away = vec![0; state.plaintext_bytes_to_read()];
            self.connection.reader().read_exact(&mut thrown_away)?;
            if state.peer_has_closed() {
                return Ok(true);
            }
        }
    }

    /// What is wrong, and what to do about it.
    fn cure(&self, error: &rustls::Error) -> String {
        let name = &self.name;
        #[expect(clippy::wildcard_enum_match_arm, reason = "of the rest rustls itself says enough")]
        let cure = match error {
            rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            ) => {
                format!("its certificate is not for {name}: write the name that it is for as tls.server-name")
            }
            rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
                "its certificate is of an unknown CA: put that CA into tls.ca-file if it is yours".to_owned()
            }
            rustls::Error::InvalidCertificate(
                CertificateError::Expired | CertificateError::ExpiredContext { .. },
            ) => "its certificate has expired: renew it, or see this machine's clock".to_owned(),
            rustls::Error::AlertReceived(
                AlertDescription::BadCertificate
                | AlertDescription::UnknownCA
                | AlertDescription::CertificateRequired
                | AlertDescription::CertificateExpired
                | AlertDescription::AccessDenied,
            ) => "it refuses our certificate: its CA must have signed tls.certificate-file".to_owned(),
            _ => "see that it speaks TLS 1.2 or 1.3 at this port".to_owned(),
        };
        format!("TLS: {cure} ({error})")
    }
}
