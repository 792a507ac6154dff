//! The platform's own certificate authority: made at the first start, kept in `DATA/authority`.
//!
//! `key.pem` (0600) signs, `ca.pem` (0644) is what clients trust. A server certificate is made at
//! each start of a server and lives in memory only.

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use std::fs::Permissions;
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use time::{Duration, OffsetDateTime};

/// Days that the authority's certificate is good for. Ours: nobody renews it by hand.
const AUTHORITY_DAYS: i64 = 3_650;
/// Days that a server certificate is good for: the longest that Apple's clients accept from an
/// authority of one's own, <https://support.apple.com/103769>.
const SERVER_DAYS: i64 = 825;

/// Signs certificates for the platform's own servers.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
}

/// Why there is no authority or certificate.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// A file of it.
    #[error("{doing} {}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// A file does not hold what it should; restore it, or remove the folder and log in again.
    #[error("use {}", path.display())]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A certificate cannot be made, e.g. for a name that is none.
    #[error("make a certificate")]
    Certificate(#[from] rcgen::Error),
    /// TLS refuses it.
    #[error("set up TLS")]
    Tls(#[from] rustls::Error),
}

impl Authority {
    /// Opens the authority in a folder, which exists; makes it when it is not there yet.
    ///
    /// # Errors
    /// [`AuthorityError`].
    pub fn open(folder: &Path) -> Result<Self, AuthorityError> {
        let (key_path, ca_path) = (folder.join("key.pem"), folder.join("ca.pem"));
        if !key_path.exists() {
            let key = KeyPair::generate()?;
            // The certificate first: a key alone would look finished after a crash in between.
            let certificate = authority_params().self_signed(&key)?;
            write(&ca_path, 0o644, certificate.pem().as_bytes())?;
            write(&key_path, 0o600, key.serialize_pem().as_bytes())?;
        }
        let pem = std::fs::read_to_string(&key_path).map_err(io("read", &key_path))?;
        let key = KeyPair::from_pem(&pem).map_err(|error| AuthorityError::Malformed {
            path: key_path,
            source: error.into(),
        })?;
        Ok(Self {
            issuer: Issuer::new(authority_params(), key),
            certificate: read_certificate(&ca_path)?,
        })
    }

    /// The TLS set-up of a server with a fresh certificate for these names and addresses.
    ///
    /// # Errors
    /// When a name can be in no certificate.
    pub fn server_config(&self, names: &[String]) -> Result<Arc<ServerConfig>, AuthorityError> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(names.to_vec())?;
        lifetime(&mut params, SERVER_DAYS);
        let name = names.first().map_or("paas", String::as_str);
        params.distinguished_name.push(DnType::CommonName, name);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &self.issuer)?;
        let chain = vec![certificate.der().clone(), self.certificate.clone()];
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        Ok(Arc::new(config))
    }
}

/// The TLS set-up of a client that trusts the authority whose `ca.pem` this is, and nobody else.
///
/// # Errors
/// When the file cannot be read or is no certificate.
pub fn client_config(ca_pem: &Path) -> Result<Arc<ClientConfig>, AuthorityError> {
    let mut roots = RootCertStore::empty();
    roots.add(read_certificate(ca_pem)?)?;
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// The provider is named and no process-wide default installed: two parts of a program could
/// disagree about it.
fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn authority_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    lifetime(&mut params, AUTHORITY_DAYS);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
        .distinguished_name
        .push(DnType::CommonName, "paas authority of this platform");
    params
}

/// From yesterday on, since clocks differ.
fn lifetime(params: &mut CertificateParams, days: i64) {
    let yesterday = OffsetDateTime::now_utc() - Duration::DAY;
    params.not_before = yesterday;
    params.not_after = yesterday + Duration::days(days);
}

fn read_certificate(path: &Path) -> Result<CertificateDer<'static>, AuthorityError> {
    let pem = std::fs::read(path).map_err(io("read", path))?;
    CertificateDer::from_pem_slice(&pem).map_err(|error| AuthorityError::Malformed {
        path: path.to_owned(),
        source: error.into(),
    })
}

/// Writes a whole file or none.
fn write(path: &Path, mode: u32, bytes: &[u8]) -> Result<(), AuthorityError> {
    let part = path.with_extension("part");
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(&part)
        .map_err(io("make", &part))?;
    // Whatever the umask is: `ca.pem` is for everybody.
    file.set_permissions(Permissions::from_mode(mode))
        .and_then(|()| file.write_all(bytes))
        .and_then(|()| file.sync_all())
        .map_err(io("write", &part))?;
    std::fs::rename(&part, path).map_err(io("make", path))
}

fn io(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> AuthorityError {
    let path = path.to_owned();
    move |source| AuthorityError::Io {
        doing,
        path,
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::pki_types::ServerName;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    async fn greet(authority: &Authority, folder: &Path, name: &str) -> std::io::Result<String> {
        let (near, far) = tokio::io::duplex(4096);
        let names = ["paas.localhost".to_owned(), "127.0.0.1".to_owned()];
        let server = authority.server_config(&names).unwrap();
        let client = client_config(&folder.join("ca.pem")).unwrap();
        let server = tokio::spawn(async move {
            let acceptor = tokio_rustls::TlsAcceptor::from(server);
            let mut stream = acceptor.accept(far).await?;
            stream.write_all(b"hello").await?;
            stream.shutdown().await
        });
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let connector = tokio_rustls::TlsConnector::from(client);
        let mut stream = connector.connect(name, near).await?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await?;
        server.await.unwrap()?;
        Ok(text)
    }

    #[tokio::test]
    async fn survives_a_restart_and_signs_for_its_names_only() {
        let folder = crate::scratch::Scratch::new();
        let path = folder.path();
        Authority::open(path).unwrap();
        let mode = |file: &str| path.join(file).metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!((mode("key.pem"), mode("ca.pem")), (0o600, 0o644));
        let again = Authority::open(path).unwrap();
        for (name, is_good) in [
            ("paas.localhost", true),
            ("127.0.0.1", true),
            ("other.localhost", false),
        ] {
            let result = greet(&again, path, name).await;
            assert_eq!(result.is_ok(), is_good, "{name}: {result:?}");
        }
    }
}
