//! Config vars in and out of their sealed records.

use crate::platform::Platform;
use crate::records::{Change, RecordsError};
use crate::seal::{DataKey, SealError};
use model::app;
use model::config_vars::Vars;
use ring::digest::{SHA256, digest};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The name of no config vars at all: it needs no record.
pub(crate) const NONE: &str = "none";

/// Why config vars cannot be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum VarsError {
    /// The records.
    #[error(transparent)]
    Records(#[from] RecordsError),
    /// The keys.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// What was opened has another form.
    #[error("read config vars that were opened")]
    Form(#[source] serde_json::Error),
    /// A record is missing.
    #[error("find the sealed config vars {0}")]
    Missing(String),
}

impl From<VarsError> for crate::http::failure::Failure {
    fn from(error: VarsError) -> Self {
        crate::say::failed("get at config vars", &error);
        Self::internal()
    }
}

impl Platform {
    /// Config vars by the name that an app or a release keeps of them.
    pub(crate) fn vars(&self, app: app::Id, name: &str) -> Result<Vars, VarsError> {
        if name == NONE {
            return Ok(Vars::new());
        }
        let sealed = self.records.sealed(app, name)?;
        let sealed = sealed.ok_or_else(|| VarsError::Missing(name.to_owned()))?;
        self.unseal(app, &sealed)
    }

    /// Seals config vars for a change; returns the name to keep.
    pub(crate) fn put_vars(
        &self,
        change: &mut Change,
        app: app::Id,
        vars: &Vars,
    ) -> Result<String, VarsError> {
        if vars.is_empty() {
            return Ok(NONE.to_owned());
        }
        let sealed = self.seal_value(app, vars)?;
        let name: [u8; 32] = digest(&SHA256, sealed.as_bytes())
            .as_ref()
            .try_into()
            .expect("a sha256 has 32 bytes");
        let name = model::digest::Digest::new(name).hex();
        change.put_sealed(app, &name, &sealed);
        Ok(name)
    }

    /// Seals anything of an app.
    pub(crate) fn seal_value(
        &self,
        app: app::Id,
        plain: &impl Serialize,
    ) -> Result<String, VarsError> {
        let json = serde_json::to_vec(plain).map_err(VarsError::Form)?;
        Ok(self.data_key(app)?.seal(app, &json)?)
    }

    /// Opens what was sealed.
    pub(crate) fn unseal<T: DeserializeOwned>(
        &self,
        app: app::Id,
        sealed: &str,
    ) -> Result<T, VarsError> {
        let json = self.data_key(app)?.open(app, sealed)?;
        serde_json::from_slice(&json).map_err(VarsError::Form)
    }

    fn data_key(&self, app: app::Id) -> Result<DataKey, VarsError> {
        let wrapped = self.records.wrapped_key(app)?;
        let wrapped =
            wrapped.ok_or_else(|| VarsError::Missing("of an app without a key".into()))?;
        Ok(self.keyring.unwrap(app, &wrapped)?)
    }
}
