//! What every parsed text type does alike: one macro that gives it `as_str`, Display, serde and
//! comparison, so that each noun's file holds only its rule.

/// Makes a newtype over `String` whose only constructor is `parse`, with the rule given as a
/// function from `&str` to `Result<(), Error>`.
macro_rules! text_type {
    ($(#[$doc:meta])* $name:ident, $error:ty, $rule:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Parses a text, refusing what breaks the rule of the type.
            pub fn parse(text: &str) -> Result<Self, $error> {
                let rule: fn(&str) -> Result<(), $error> = $rule;
                rule(text)?;
                Ok(Self(text.to_owned()))
            }

            /// The text as it was given.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = $error;
            fn try_from(text: String) -> Result<Self, $error> {
                Self::parse(&text)
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> String {
                value.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = $error;
            fn from_str(text: &str) -> Result<Self, $error> {
                Self::parse(text)
            }
        }
    };
}

/// Makes a newtype over a UUID, written in lower case with dashes.
macro_rules! id_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(transparent)]
        pub struct $name(uuid::Uuid);

        impl $name {
            /// Takes a UUID made elsewhere: this crate has no source of randomness.
            pub const fn new(id: uuid::Uuid) -> Self {
                Self(id)
            }

            /// Parses the text form; anything but a UUID is none.
            pub fn parse(text: &str) -> Option<Self> {
                uuid::Uuid::parse_str(text).ok().map(Self)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

pub(crate) use {id_type, text_type};
