//! A route: what the router knows of an app.

use crate::{app, dyno};
use std::net::SocketAddrV4;

/// Hosts of an app and the dynos behind them.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Route {
    /// Whose.
    pub app: app::Id,
    /// The app's name today.
    pub app_name: app::Name,
    /// Host names, lower case, without port and trailing dot.
    pub hosts: Vec<String>,
    /// What is there to answer.
    pub state: State,
}

/// What can answer for an app, as Heroku's error codes tell it apart.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum State {
    /// Never released: H81.
    Blank,
    /// `web` is scaled to 0 or the release has no such type: H14.
    NoWeb,
    /// Maintenance mode: H80.
    Maintenance,
    /// Has web dynos, in whatever state.
    Web {
        /// All web dynos that may get requests now or soon; a dyno that is to leave is not here.
        endpoints: Vec<Endpoint>,
    },
}

/// A web dyno as the router sees it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Endpoint {
    /// Which dyno.
    pub dyno: dyno::Id,
    /// `web.1`.
    pub name: dyno::Name,
    /// Whether it can be reached.
    pub state: EndpointState,
}

/// Whether a dyno can be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum EndpointState {
    /// Boots: requests wait (H20 after 75 s).
    Starting,
    /// Listens there.
    Up {
        /// Its address on the node and its PORT.
        address: SocketAddrV4,
    },
    /// Ended and waits for its restart (H10 when no other is up or starting).
    Crashed,
}
