//! Secrets at rest: a key per app, wrapped by the platform's key in `DATA/key`.
//!
//! Forgetting an app's wrapped key forgets its secrets. AES-256-GCM throughout; each sealed text is
//! bound to the app it belongs to, so that one moved to another app's record does not open. Nothing
//! here knows what is sealed.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use model::app;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hmac::{self, HMAC_SHA256};
use ring::rand::{SecureRandom, SystemRandom};
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

const KEY_BYTES: usize = 32;
/// The first byte of every sealed text: how the rest is to be read.
const FORM: u8 = 1;

/// Why secrets cannot be sealed or opened.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The file of the platform's key.
    #[error("{doing} {}", path.display())]
    File {
        /// What was tried.
        doing: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// The file is there and is no key.
    #[error("use {} as the platform's key: it is not {KEY_BYTES} bytes that only its owner can read", .0.display())]
    NotAKey(PathBuf),
    /// The system gives no random bytes.
    #[error("get random bytes from the system")]
    Random,
    /// The sealed text was made with another key or was changed.
    #[error("open a sealed record: it was made with another key or was changed")]
    Broken,
}

/// The platform's key, which opens the keys of the apps, and one made of it that signs.
pub(crate) struct Keyring {
    wrapping: LessSafeKey,
    signing: hmac::Key,
}

/// The key of one app.
pub(crate) struct DataKey(LessSafeKey);

/// Keys are never shown.
impl std::fmt::Debug for Keyring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keyring")
    }
}

/// Keys are never shown.
impl std::fmt::Debug for DataKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DataKey")
    }
}

impl Keyring {
    /// Reads `DATA/key`, or makes it at the first start.
    pub(crate) fn open(data_dir: &Path) -> Result<Self, SealError> {
        let path = data_dir.join("key");
        let bytes = match path.try_exists() {
            Ok(true) => read_key(&path)?,
            Ok(false) => make_key(&path)?,
            Err(source) => return Err(file_error("look for", &path)(source)),
        };
        Ok(Self {
            wrapping: key(&bytes),
            // Made of the platform's key, so that neither key is used for two things.
            signing: hmac::Key::new(
                HMAC_SHA256,
                hmac::sign(&hmac::Key::new(HMAC_SHA256, &bytes), b"paas streams").as_ref(),
            ),
        })
    }

    /// A signature that makes an address one that nobody can guess: 43 characters fit for a path.
    pub(crate) fn sign(&self, text: &str) -> String {
        URL_SAFE_NO_PAD.encode(hmac::sign(&self.signing, text.as_bytes()))
    }

    /// Whether a signature is the text's; takes the same time wherever it differs.
    pub(crate) fn is_signed(&self, text: &str, signature: &str) -> bool {
        let tag = URL_SAFE_NO_PAD.decode(signature);
        tag.is_ok_and(|tag| hmac::verify(&self.signing, text.as_bytes(), &tag).is_ok())
    }

    /// Makes a key for an app: the key, and its wrapped form for the record.
    pub(crate) fn make(&self, app: app::Id) -> Result<(DataKey, String), SealError> {
        let bytes = random::<KEY_BYTES>()?;
        Ok((DataKey(key(&bytes)), seal(&self.wrapping, app, &bytes)?))
    }

    /// Opens an app's wrapped key.
    pub(crate) fn unwrap(&self, app: app::Id, wrapped: &str) -> Result<DataKey, SealError> {
        let bytes = open(&self.wrapping, app, wrapped)?;
        let bytes: [u8; KEY_BYTES] = bytes.try_into().map_err(|_| SealError::Broken)?;
        Ok(DataKey(key(&bytes)))
    }
}

impl DataKey {
    /// Seals bytes of the app.
    pub(crate) fn seal(&self, app: app::Id, plain: &[u8]) -> Result<String, SealError> {
        seal(&self.0, app, plain)
    }

    /// Opens what was sealed for the app.
    pub(crate) fn open(&self, app: app::Id, sealed: &str) -> Result<Vec<u8>, SealError> {
        open(&self.0, app, sealed)
    }
}

/// Fresh random bytes.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], SealError> {
    let mut bytes = [0; N];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| SealError::Random)?;
    Ok(bytes)
}

fn key(bytes: &[u8; KEY_BYTES]) -> LessSafeKey {
    LessSafeKey::new(
        UnboundKey::new(&AES_256_GCM, bytes).expect("the key has the length of AES-256"),
    )
}

fn seal(key: &LessSafeKey, app: app::Id, plain: &[u8]) -> Result<String, SealError> {
    let nonce = random::<NONCE_LEN>()?;
    let mut text = plain.to_vec();
    key.seal_in_place_append_tag(
        Nonce::assume_unique_for_key(nonce),
        Aad::from(app.to_string()),
        &mut text,
    )
    .map_err(|_| SealError::Broken)?;
    let mut sealed = Vec::with_capacity(1 + NONCE_LEN + text.len());
    sealed.push(FORM);
    sealed.extend_from_slice(&nonce);
    sealed.extend_from_slice(&text);
    Ok(STANDARD.encode(sealed))
}

fn open(key: &LessSafeKey, app: app::Id, sealed: &str) -> Result<Vec<u8>, SealError> {
    let sealed = STANDARD.decode(sealed).map_err(|_| SealError::Broken)?;
    let (&FORM, rest) = sealed.split_first().ok_or(SealError::Broken)? else {
        return Err(SealError::Broken);
    };
    let (nonce, text) = rest.split_at_checked(NONCE_LEN).ok_or(SealError::Broken)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| SealError::Broken)?;
    let mut text = text.to_vec();
    let plain = key
        .open_in_place(nonce, Aad::from(app.to_string()), &mut text)
        .map_err(|_| SealError::Broken)?;
    Ok(plain.to_vec())
}

fn read_key(path: &Path) -> Result<[u8; KEY_BYTES], SealError> {
    let mode = std::fs::metadata(path)
        .map_err(file_error("look at", path))?
        .permissions()
        .mode();
    let bytes = std::fs::read(path).map_err(file_error("read", path))?;
    match bytes.try_into() {
        Ok(bytes) if mode.trailing_zeros() >= 6 => Ok(bytes),
        _ => Err(SealError::NotAKey(path.to_owned())),
    }
}

/// Written beside it and renamed: a crash leaves either no key or a whole one.
fn make_key(path: &Path) -> Result<[u8; KEY_BYTES], SealError> {
    let bytes = random::<KEY_BYTES>()?;
    let fresh = path.with_extension("new");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&fresh)
        .map_err(file_error("make", &fresh))?;
    file.write_all(&bytes)
        .and_then(|()| file.sync_all())
        .map_err(file_error("write", &fresh))?;
    std::fs::rename(&fresh, path).map_err(file_error("put in place", path))?;
    let folder = path.parent().unwrap_or(path);
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(file_error("sync the folder of", path))?;
    Ok(bytes)
}

fn file_error(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> SealError {
    let path = path.to_owned();
    move |source| SealError::File {
        doing,
        path,
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> PathBuf {
        let path = std::env::temp_dir().join(format!("paas-seal-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir(&path).unwrap();
        path
    }

    #[test]
    fn the_key_is_made_once_and_only_the_owner_reads_it() {
        let folder = folder();
        let app = app::Id::new(uuid::Uuid::new_v4());
        let (first, wrapped) = Keyring::open(&folder).unwrap().make(app).unwrap();
        let mode = std::fs::metadata(folder.join("key")).unwrap().permissions();
        assert_eq!(mode.mode() & 0o777, 0o600);
        let again = Keyring::open(&folder)
            .unwrap()
            .unwrap(app, &wrapped)
            .unwrap();
        let sealed = first.seal(app, b"secret").unwrap();
        assert_eq!(again.open(app, &sealed).unwrap(), b"secret");
        std::fs::set_permissions(
            folder.join("key"),
            std::os::unix::fs::PermissionsExt::from_mode(0o640),
        )
        .unwrap();
        assert!(matches!(Keyring::open(&folder), Err(SealError::NotAKey(_))));
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn signatures() {
        let folder = folder();
        let keyring = Keyring::open(&folder).unwrap();
        let signature = keyring.sign("a");
        assert!(keyring.is_signed("a", &signature));
        assert!(!keyring.is_signed("b", &signature));
        assert!(
            !keyring.is_signed("a", "x")
                && !keyring.is_signed("a", &signature.replacen(&signature, "AAAA", 1))
        );
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn what_is_foreign_or_changed_does_not_open() {
        let folder = folder();
        let keyring = Keyring::open(&folder).unwrap();
        let (one, two) = (uuid::Uuid::new_v4(), uuid::Uuid::new_v4());
        let (one, two) = (app::Id::new(one), app::Id::new(two));
        let (key, wrapped) = keyring.make(one).unwrap();
        assert!(keyring.unwrap(two, &wrapped).is_err());
        let sealed = key.seal(one, b"secret").unwrap();
        assert!(key.open(two, &sealed).is_err());
        for broken in [
            "",
            "!",
            "AQ==",
            &sealed.replace('A', "B"),
            &STANDARD.encode([2; 64]),
        ] {
            if broken != sealed {
                assert!(key.open(one, broken).is_err(), "{broken}");
            }
        }
        std::fs::remove_dir_all(folder).unwrap();
    }
}
