//! The api as the builder asks it: each question with its answer's type.

use link::feed::Feed;
use model::digest::Digest;
use model::feed::{Access, Answer, App, Ask, BuildOrder};
use model::slug::Manifest;
use model::{account, app, release};
use std::time::Duration;
use uuid::Uuid;

/// How long a short question may take.
const ANSWER: Duration = Duration::from_secs(30);
/// How long a release may take beside its phase: the boot of its dynos, and some time to spare.
const BOOT: Duration = Duration::from_millis(2 * model::limits::BOOT_TIMEOUT_MS);

/// Why there is no answer to use.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    /// None came.
    #[error(transparent)]
    Silent(#[from] link::feed::AskError),
    /// It said no, with a message for the person.
    #[error("{0}")]
    Refused(String),
    /// It answered another question.
    #[error("understand the api's answer")]
    Unexpected,
}

/// How a release came out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Released {
    /// It serves.
    Yes {
        /// Its number.
        number: release::Number,
        /// Where the app is reached.
        url: String,
        /// Time of the release itself, milliseconds.
        release_ms: u64,
        /// Time until all web dynos were up, milliseconds.
        start_ms: u64,
        /// Why its web dynos run isolated, where they would run central if they could.
        fallback: Option<String>,
    },
    /// The old one serves on.
    No {
        /// In a few words.
        reason: String,
        /// For the pusher, the cause last.
        lines: Vec<String>,
    },
}

/// Asks over the feed.
#[derive(Clone, Debug)]
pub(crate) struct Api {
    /// The feed.
    pub feed: Feed,
    /// How long a release phase may take.
    pub phase: Duration,
}

impl Api {
    /// What a token may do with an app of this name.
    pub(crate) async fn access(&self, token: String, app: String) -> Result<Access, ApiError> {
        match self.ask(Ask::CheckToken { token, app }).await? {
            Answer::Access(access) => Ok(access),
            _ => Err(ApiError::Unexpected),
        }
    }

    /// Makes an app.
    pub(crate) async fn create_app(&self, token: String, name: String) -> Result<App, ApiError> {
        match self.ask(Ask::CreateApp { token, name }).await? {
            Answer::App(app) => Ok(app),
            _ => Err(ApiError::Unexpected),
        }
    }

    /// Takes the app's turn.
    pub(crate) async fn start_build(
        &self,
        app: app::Id,
        account: account::Id,
        commit: String,
    ) -> Result<BuildOrder, ApiError> {
        let ask = Ask::StartBuild {
            app,
            account,
            commit,
        };
        self.order(ask).await
    }

    /// Takes a build that the API was asked for.
    pub(crate) async fn take_build(&self, build: Uuid) -> Result<BuildOrder, ApiError> {
        self.order(Ask::TakeBuild { build }).await
    }

    async fn order(&self, ask: Ask) -> Result<BuildOrder, ApiError> {
        match self.ask(ask).await? {
            Answer::Build(order) => Ok(*order),
            _ => Err(ApiError::Unexpected),
        }
    }

    /// Makes a release of a build; lines of its release phase go to `progress`.
    pub(crate) async fn release(
        &self,
        build: Uuid,
        slug: Digest,
        manifest: Manifest,
        progress: impl FnMut(String),
    ) -> Result<Released, ApiError> {
        let ask = Ask::Release {
            build,
            slug,
            manifest: Box::new(manifest),
        };
        match self.feed.ask(ask, self.phase + BOOT, progress).await? {
            Answer::Released {
                number,
                url,
                release_ms,
                start_ms,
                fallback,
            } => Ok(Released::Yes {
                number,
                url,
                release_ms,
                start_ms,
                fallback,
            }),
            Answer::NotReleased { reason, lines } => Ok(Released::No { reason, lines }),
            Answer::Refused { message } => Err(ApiError::Refused(message)),
            _ => Err(ApiError::Unexpected),
        }
    }

    /// Gives the app's turn back.
    pub(crate) async fn build_failed(&self, build: Uuid, reason: String) -> Result<(), ApiError> {
        match self.ask(Ask::BuildFailed { build, reason }).await? {
            Answer::Done => Ok(()),
            _ => Err(ApiError::Unexpected),
        }
    }

    async fn ask(&self, ask: Ask) -> Result<Answer, ApiError> {
        match self.feed.ask(ask, ANSWER, |_| {}).await? {
            Answer::Refused { message } => Err(ApiError::Refused(message)),
            answer => Ok(answer),
        }
    }
}
