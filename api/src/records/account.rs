//! Accounts and their tokens. A token is kept as its sha256 only.

use super::{Change, Records, RecordsError};
use model::account::{Email, Id};
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A person or a program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Account {
    pub(crate) id: Id,
    pub(crate) email: Email,
    pub(crate) name: Option<String>,
    pub(crate) created_at_us: u64,
    pub(crate) updated_at_us: u64,
}

/// An authorization: what is known of a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Token {
    pub(crate) id: Uuid,
    pub(crate) account: Id,
    pub(crate) description: String,
    pub(crate) scope: Vec<Scope>,
    /// Its first and last characters, by which its owner knows it again.
    pub(crate) shown: (String, String),
    pub(crate) created_at_us: u64,
    pub(crate) expires_at_us: Option<u64>,
    /// The key under which it is found; not part of the record's value.
    #[serde(skip)]
    pub(crate) hash: String,
}

/// What a token may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Scope {
    /// Everything.
    Global,
    /// The account alone.
    Identity,
    /// Reading, without config vars.
    Read,
    /// Changing, without config vars.
    Write,
    /// Reading, with config vars.
    ReadProtected,
    /// Changing, with config vars.
    WriteProtected,
}

impl Scope {
    /// The word in the API.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Global => "global",
            Self::Identity => "identity",
            Self::Read => "read",
            Self::Write => "write",
            Self::ReadProtected => "read-protected",
            Self::WriteProtected => "write-protected",
        }
    }
}

impl Token {
    /// Whether its time is over.
    pub(crate) fn is_expired(&self, now_us: u64) -> bool {
        self.expires_at_us.is_some_and(|end| end <= now_us)
    }

    /// `paas_ab**********yz`: exactly ten stars, as the official command line matches it.
    pub(crate) fn shortened(&self) -> String {
        format!("{}**********{}", self.shown.0, self.shown.1)
    }
}

/// The name under which a token's record is kept.
pub(crate) fn hash(token: &str) -> String {
    let digest = digest(&SHA256, token.as_bytes());
    let bytes: [u8; 32] = digest.as_ref().try_into().expect("a sha256 has 32 bytes");
    model::digest::Digest::new(bytes).hex()
}

fn email_key(email: &Email) -> String {
    format!("email/{}", hash(&email.as_str().to_ascii_lowercase()))
}

impl Records {
    pub(crate) fn account(&self, id: Id) -> Result<Option<Account>, RecordsError> {
        self.get(&format!("acct/{id}"))
    }

    pub(crate) fn account_of(&self, email: &Email) -> Result<Option<Account>, RecordsError> {
        match self.get(&email_key(email))? {
            Some(id) => self.account(id),
            None => Ok(None),
        }
    }

    /// The token's record, its time not looked at.
    pub(crate) fn token(&self, hash: &str) -> Result<Option<Token>, RecordsError> {
        let token: Option<Token> = self.get(&format!("tok/{hash}"))?;
        Ok(token.map(|token| Token {
            hash: hash.to_owned(),
            ..token
        }))
    }

    /// All tokens of an account, oldest first.
    pub(crate) fn tokens_of(&self, account: Id) -> Result<Vec<Token>, RecordsError> {
        let hashes: Vec<(String, String)> = self.list(&format!("auth/{account}/"))?;
        let mut tokens = Vec::with_capacity(hashes.len());
        for (_, hash) in hashes {
            tokens.extend(self.token(&hash)?);
        }
        tokens.sort_by_key(|token| (token.created_at_us, token.id));
        Ok(tokens)
    }
}

impl Change {
    pub(crate) fn put_account(&mut self, account: &Account) {
        self.put(&email_key(&account.email), &account.id);
        self.put(&format!("acct/{}", account.id), account);
    }

    pub(crate) fn put_token(&mut self, token: &Token) {
        self.put(&format!("auth/{}/{}", token.account, token.id), &token.hash);
        self.put(&format!("tok/{}", token.hash), token);
    }

    pub(crate) fn remove_token(&mut self, token: &Token) {
        self.remove(&format!("auth/{}/{}", token.account, token.id));
        self.remove(&format!("tok/{}", token.hash));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes() {
        assert_eq!(
            hash("abc"),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }
}
