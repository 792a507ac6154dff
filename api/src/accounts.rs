//! Who somebody is: tokens made, looked up, and what they allow.

use crate::clock::now_us;
use crate::http::failure::Failure;
use crate::platform::Platform;
use crate::records::{Account, Scope, Token, hash};
use crate::seal::{self, SealError};
use model::account::{Email, Id};
use std::sync::Arc;
use uuid::Uuid;

/// Bytes of a token that are looked at; ours have 45, a UUID 36.
const TOKEN_MAX_BYTES: usize = 200;
const TOKEN_CHARACTERS: usize = 40;

/// Somebody with a good token.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) account: Account,
    pub(crate) token: Token,
}

impl Caller {
    /// Whether the token may read apps.
    pub(crate) fn may_read(&self) -> bool {
        self.has(&[
            Scope::Global,
            Scope::Read,
            Scope::Write,
            Scope::ReadProtected,
            Scope::WriteProtected,
        ])
    }

    /// Whether the token may change apps.
    pub(crate) fn may_write(&self) -> bool {
        self.has(&[Scope::Global, Scope::Write, Scope::WriteProtected])
    }

    /// Whether the token may see config vars.
    pub(crate) fn may_read_vars(&self) -> bool {
        self.has(&[Scope::Global, Scope::ReadProtected, Scope::WriteProtected])
    }

    /// Whether the token may change config vars.
    pub(crate) fn may_write_vars(&self) -> bool {
        self.has(&[Scope::Global, Scope::WriteProtected])
    }

    /// Whether the token may do everything, making tokens included.
    pub(crate) fn is_global(&self) -> bool {
        self.has(&[Scope::Global])
    }

    fn has(&self, scopes: &[Scope]) -> bool {
        self.token.scope.iter().any(|scope| scopes.contains(scope))
    }
}

/// What a new token shall be.
#[derive(Debug)]
pub(crate) struct NewToken {
    pub(crate) description: String,
    pub(crate) scope: Vec<Scope>,
    pub(crate) expires_in_s: Option<u64>,
}

/// Finds who has a token; none when it is unknown, revoked or expired.
pub(crate) fn caller(platform: &Platform, token: &str) -> Result<Option<Caller>, Failure> {
    if token.is_empty() || token.len() > TOKEN_MAX_BYTES {
        return Ok(None);
    }
    let Some(token) = platform.records.token(&hash(token))? else {
        return Ok(None);
    };
    if token.is_expired(now_us()) {
        return Ok(None);
    }
    let account = platform.records.account(token.account)?;
    Ok(account.map(|account| Caller { account, token }))
}

/// The account of an email address; made if it is missing.
pub(crate) async fn ensure(platform: &Arc<Platform>, email: &Email) -> Result<Account, Failure> {
    let change = platform.begin().await;
    if let Some(account) = platform.records.account_of(email)? {
        return Ok(account);
    }
    let now_us = now_us();
    let account = Account {
        id: Id::new(Uuid::new_v4()),
        email: email.clone(),
        name: None,
        created_at_us: now_us,
        updated_at_us: now_us,
    };
    let mut change = change.by(account.id, "create account", email.as_str());
    change.put_account(&account);
    change.commit().await?;
    Ok(account)
}

/// Makes a token; its text is given out this once.
pub(crate) async fn make_token(
    platform: &Arc<Platform>,
    account: &Account,
    new: NewToken,
) -> Result<(Token, String), Failure> {
    let text = token_text()?;
    let now_us = now_us();
    let end = |start: String| -> (String, String) {
        let tail = start.chars().rev().take(4).collect::<String>();
        (
            start.chars().take(9).collect(),
            tail.chars().rev().collect(),
        )
    };
    let token = Token {
        id: Uuid::new_v4(),
        account: account.id,
        description: new.description,
        scope: new.scope,
        shown: end(text.clone()),
        created_at_us: now_us,
        expires_at_us: new
            .expires_in_s
            .map(|seconds| now_us.saturating_add(seconds.saturating_mul(1_000_000))),
        hash: hash(&text),
    };
    let mut change =
        platform
            .begin()
            .await
            .by(account.id, "create authorization", &token.id.to_string());
    change.put_token(&token);
    change.commit().await?;
    Ok((token, text))
}

/// `paas_` and 40 characters of base62: 238 random bits.
fn token_text() -> Result<String, SealError> {
    let mut text = "paas_".to_owned();
    text.push_str(&base62(TOKEN_CHARACTERS)?);
    Ok(text)
}

/// Random letters and digits.
pub(crate) fn base62(length: usize) -> Result<String, SealError> {
    const LETTERS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut text = String::with_capacity(length);
    while text.len() < length {
        // 248 is the largest multiple of 62: above it some letters would be more likely.
        let usable = seal::random::<64>()?.into_iter().filter(|byte| *byte < 248);
        let letters = usable.filter_map(|byte| LETTERS.get(usize::from(byte) % 62));
        text.extend(
            letters
                .take(length - text.len())
                .map(|letter| char::from(*letter)),
        );
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_long_and_differ() {
        let (one, two) = (token_text().unwrap(), token_text().unwrap());
        assert_eq!(one.len(), 45);
        assert!(one.starts_with("paas_") && one != two);
        assert!(one.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'));
    }
}
