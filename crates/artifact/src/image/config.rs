//! The config of an image: what it runs as, and where its layers came from.
//!
//! Docker's additions (Healthcheck, `OnBuild`, Shell) are kept, as are fields that we do not know.

use model::digest::Digest;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// A config.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// When its last step was made, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// What MAINTAINER said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// `amd64`
    #[serde(default)]
    pub architecture: String,
    /// `linux`
    #[serde(default)]
    pub os: String,
    /// How it runs.
    #[serde(default, deserialize_with = "or_default")]
    pub config: Settings,
    /// Its layers.
    pub rootfs: RootFs,
    /// Its steps.
    #[serde(default, deserialize_with = "or_default")]
    pub history: Vec<History>,
    /// All else, kept as it is.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// How an image runs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Settings {
    /// `name[:group]`; empty: root.
    #[serde(
        skip_serializing_if = "String::is_empty",
        deserialize_with = "or_default"
    )]
    pub user: String,
    /// `80/tcp`
    #[serde(
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "or_default"
    )]
    pub exposed_ports: BTreeMap<String, Map<String, Value>>,
    /// `NAME=value`, in order.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "or_default")]
    pub env: Vec<String>,
    /// In front of the command.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<Vec<String>>,
    /// The command.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cmd: Option<Vec<String>>,
    /// Paths.
    #[serde(
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "or_default"
    )]
    pub volumes: BTreeMap<String, Map<String, Value>>,
    /// Absolute; empty: `/`.
    #[serde(
        skip_serializing_if = "String::is_empty",
        deserialize_with = "or_default"
    )]
    pub working_dir: String,
    /// Free texts.
    #[serde(
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "or_default"
    )]
    pub labels: BTreeMap<String, String>,
    /// Name or number.
    #[serde(
        skip_serializing_if = "String::is_empty",
        deserialize_with = "or_default"
    )]
    pub stop_signal: String,
    /// As Docker has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Value>,
    /// Instructions for those that build on it.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "or_default")]
    pub on_build: Vec<String>,
    /// What runs texts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shell: Option<Vec<String>>,
    /// All else, kept as it is.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// The layers, by the digests of their tars.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootFs {
    /// `layers`
    #[serde(rename = "type")]
    pub kind: String,
    /// The lowest first.
    pub diff_ids: Vec<Digest>,
}

/// One step.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// When it was made first, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// The instruction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
    /// Whether it made no layer.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub empty_layer: bool,
    /// Who built it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// All else, kept as it is.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl Config {
    /// The config of no layers, on this machine's kind of processor.
    pub fn scratch() -> Self {
        Self {
            created: None,
            author: None,
            architecture: architecture().to_owned(),
            os: "linux".to_owned(),
            config: Settings::default(),
            rootfs: RootFs {
                kind: "layers".to_owned(),
                diff_ids: Vec::new(),
            },
            history: Vec::new(),
            other: Map::new(),
        }
    }

    /// The bytes that stand for it: its digest is the image's id.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a config is plain text and numbers, all of it JSON")
    }
}

/// This machine's processor in Go's words.
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Docker writes `null` for what is empty.
fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_fields_and_nulls_survive() {
        let json = r#"{"created":"2020-01-01T00:00:00Z","architecture":"amd64","os":"linux",
            "config":{"User":"a","Env":null,"Cmd":["x"],"Volumes":null,"OnBuild":null,
            "ArgsEscaped":true,"Healthcheck":{"Test":["NONE"]}},
            "rootfs":{"type":"layers","diff_ids":[]},"docker_version":"1"}"#;
        let config: Config = serde_json::from_str(json).unwrap();
        assert_eq!(config.config.cmd.as_deref(), Some(&["x".to_owned()][..]));
        let again = String::from_utf8(config.to_bytes()).unwrap();
        assert_eq!(
            again,
            "{\"created\":\"2020-01-01T00:00:00Z\",\"architecture\":\"amd64\",\"os\":\"linux\",\
             \"config\":{\"User\":\"a\",\"Cmd\":[\"x\"],\"Healthcheck\":{\"Test\":[\"NONE\"]},\
             \"ArgsEscaped\":true},\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[]},\
             \"history\":[],\"docker_version\":\"1\"}"
        );
    }
}
