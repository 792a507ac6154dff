//! The orders that the api gave, kept on the node's disk so that dynos are looked after while the
//! api is away. Config vars are in them, so the file is sealed with a key that only dynod reads.

use model::dyno::Want;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom as _, SystemRandom};
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

const KEY_LEN: usize = 32;
/// Bytes of the file; 8,192 dynos with 64 KiB of config vars each would be more than a node has.
const MAX_BYTES: u64 = 512 * 1024 * 1024;

/// The file and its key.
pub(crate) struct Saved {
    folder: PathBuf,
    key: LessSafeKey,
}

impl std::fmt::Debug for Saved {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Saved({})", self.folder.display())
    }
}

impl Saved {
    /// Opens the folder; makes the key at the first start of a node.
    pub(crate) fn open(folder: PathBuf) -> std::io::Result<Self> {
        let path = folder.join("key");
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => make_key(&folder, &path)?,
            Err(error) => return Err(error),
        };
        let key = UnboundKey::new(&AES_256_GCM, &bytes)
            .map_err(|_| broken("the key of the saved orders has not 32 bytes"))?;
        Ok(Self {
            folder,
            key: LessSafeKey::new(key),
        })
    }

    /// The orders as they were saved last; none on a new node.
    pub(crate) fn load(&self) -> std::io::Result<Vec<Want>> {
        let mut sealed = Vec::new();
        match File::open(self.folder.join("wants")) {
            Ok(file) => file.take(MAX_BYTES).read_to_end(&mut sealed)?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let (nonce, body) = sealed
            .split_at_mut_checked(NONCE_LEN)
            .ok_or_else(|| broken("the saved orders are cut short"))?;
        let nonce = Nonce::try_assume_unique_for_key(nonce)
            .map_err(|_| broken("the saved orders have no nonce"))?;
        let text = self
            .key
            .open_in_place(nonce, Aad::empty(), body)
            .map_err(|_| broken("the saved orders do not fit their key"))?;
        let orders: Vec<serde_json::Value> = serde_json::from_slice(text)?;
        let orders = orders.into_iter().map(with_owner);
        let orders: Result<Vec<Want>, _> = orders.map(serde_json::from_value).collect();
        Ok(orders?)
    }

    /// Saves all orders; after a power cut either these are there or the ones before.
    pub(crate) fn store(&self, wants: &[&Want]) -> std::io::Result<()> {
        let mut nonce = [0; NONCE_LEN];
        fill(&mut nonce)?;
        let mut body = serde_json::to_vec(wants)?;
        self.key
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut body)
            .map_err(|_| broken("the orders cannot be sealed"))?;
        write_whole(&self.folder, "wants", &[&nonce, &body])
    }
}

/// Orders of before dynos had networks in common name no owner. Until the api says it the app
/// stands for it, which shares its network with nobody.
fn with_owner(mut order: serde_json::Value) -> serde_json::Value {
    if let Some(fields) = order.as_object_mut()
        && !fields.contains_key("owner")
        && let Some(app) = fields.get("app").cloned()
    {
        fields.insert("owner".to_owned(), app);
    }
    order
}

fn make_key(folder: &Path, path: &Path) -> std::io::Result<Vec<u8>> {
    let mut key = [0; KEY_LEN];
    fill(&mut key)?;
    write_whole(folder, "key", &[&key])?;
    std::fs::read(path)
}

fn write_whole(folder: &Path, name: &str, parts: &[&[u8]]) -> std::io::Result<()> {
    let temporary = folder.join(format!("{name}.new"));
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)?;
    for part in parts {
        file.write_all(part)?;
    }
    file.sync_all()?;
    std::fs::rename(&temporary, folder.join(name))?;
    File::open(folder)?.sync_all()
}

fn fill(bytes: &mut [u8]) -> std::io::Result<()> {
    SystemRandom::new()
        .fill(bytes)
        .map_err(|_| broken("the kernel gives no random bytes"))
}

fn broken(text: &str) -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::InvalidData, text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::tests::want;
    use model::dyno::Purpose;

    #[test]
    fn what_was_stored_is_loaded_and_cannot_be_read_without_the_key() {
        let folder = std::env::temp_dir().join(format!("dynod-saved-{}", std::process::id()));
        std::fs::create_dir(&folder).unwrap();
        let order = want(&Purpose::Formation);
        let saved = Saved::open(folder.clone()).unwrap();
        assert_eq!(saved.load().unwrap(), []);
        saved.store(&[&order]).unwrap();
        assert_eq!(
            Saved::open(folder.clone()).unwrap().load().unwrap(),
            std::slice::from_ref(&order)
        );
        let mut old = serde_json::to_value(&order).unwrap();
        old.as_object_mut().unwrap().remove("owner").unwrap();
        let old: Want = serde_json::from_value(with_owner(old)).unwrap();
        assert_eq!(old.owner.to_string(), order.app.to_string());
        let bytes = std::fs::read(folder.join("wants")).unwrap();
        assert!(!bytes.windows(5).any(|window| window == b"hello"));
        std::fs::remove_file(folder.join("key")).unwrap();
        assert!(Saved::open(folder.clone()).unwrap().load().is_err());
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
