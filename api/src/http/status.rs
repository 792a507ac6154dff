//! `/paas`: what is ours beside the Platform API. Needs no token, says nothing about apps.

use super::failure::Failure;
use super::shape::Ctx;
use crate::platform::Platform;
use crate::records::Holder;
use axum::Json;
use axum::extract::State;
use model::feed::Role;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

#[derive(Debug, Serialize)]
pub(super) struct Answer {
    healthy: bool,
    api_url: String,
    git_url: String,
    router_url: String,
    domain: String,
    roles: Vec<RoleStatus>,
}

#[derive(Debug, Serialize)]
struct RoleStatus {
    name: String,
    pid: i32,
    since: Value,
    memory_bytes: u64,
}

/// What `paas up` writes into `state.json`.
#[derive(Debug, Default, Deserialize)]
struct Supervised {
    #[serde(default)]
    roles: Vec<SupervisedRole>,
}

#[derive(Debug, Deserialize)]
struct SupervisedRole {
    name: String,
    pid: i32,
    start_time: u64,
    since: Value,
}

/// What `paas up` runs.
const SUPERVISED: [&str; 5] = ["nursery", "api", "builder", "dynod", "router"];

/// `GET /paas/status`
pub(super) async fn status(State(platform): Ctx) -> Json<Answer> {
    let supervised = supervised(&platform);
    let is_alive = |role: &SupervisedRole| {
        let (pid, start_time) = (role.pid, role.start_time);
        Holder { pid, start_time }.is_alive()
    };
    let connected = platform.feeds.roles().borrow().clone();
    let is_complete = [Role::Builder, Role::Dynod, Role::Router]
        .iter()
        .all(|role| connected.contains(role));
    // A role that has just died stands nowhere until its successor runs.
    let is_whole = supervised.roles.is_empty()
        || SUPERVISED.iter().all(|name| {
            let role = supervised.roles.iter().find(|role| role.name == *name);
            role.is_some_and(is_alive)
        });
    let roles = supervised.roles.iter().filter(|role| is_alive(role));
    let config = &platform.config;
    Json(Answer {
        healthy: is_complete && is_whole,
        api_url: config.api_url(),
        git_url: config.git_base_url(),
        router_url: config.router_url(),
        domain: config.domain.clone(),
        roles: roles
            .map(|role| RoleStatus {
                name: role.name.clone(),
                pid: role.pid,
                since: role.since.clone(),
                memory_bytes: memory_bytes(role.pid).unwrap_or(0),
            })
            .collect(),
    })
}

/// `GET /paas/authority`: the certificate that signs the one of attached one-offs.
pub(super) async fn authority(State(platform): Ctx) -> Result<Json<Value>, Failure> {
    let path = platform.config.data_dir.join("authority/ca.pem");
    let pem = std::fs::read_to_string(path).map_err(|error| {
        crate::say::failed("read the authority's certificate", &error);
        Failure::internal()
    })?;
    Ok(Json(json!({ "ca_pem": pem })))
}

/// Empty when `paas up` has not written it, e.g. in tests.
fn supervised(platform: &Platform) -> Supervised {
    let path = platform.config.run_dir.join("state.json");
    match std::fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_else(|error| {
            crate::say::failed("read what paas up runs", &error);
            Supervised::default()
        }),
        Err(_) => Supervised::default(),
    }
}

/// Resident memory, `VmRSS` of `proc_pid_status(5)`.
fn memory_bytes(pid: i32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}
