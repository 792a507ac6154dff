//! Apps come and go: everything that belongs to one is made and removed together.

use crate::clock::now_us;
use crate::http::failure::Failure;
use crate::platform::Platform;
use crate::records::{Account, App};
use crate::vars;
use model::app::{Id, Name};
use model::release::{Number, Release, Status};
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// A destroy waits so long for a release that it has just cancelled.
const DESTROY_TURN_WAIT: Duration = Duration::from_secs(30);
/// Names that are tried when none was given, before the person has to choose.
const NAMES_TRIED: usize = 8;

/// Makes an app with its first two releases, its host and its key. Without a name it gets one.
pub(crate) async fn create(
    platform: &Arc<Platform>,
    owner: &Account,
    name: Option<Name>,
) -> Result<App, Failure> {
    let change = platform.begin().await;
    let name = match name {
        Some(name) if platform.records.app_named(&name)?.is_some() => {
            return Err(Failure::invalid(format!("Name {name} is already taken")));
        }
        Some(name) => name,
        None => free_name(platform)?,
    };
    let now_us = now_us();
    let stack = platform.config.default_stack.clone();
    let app = App {
        id: Id::new(Uuid::new_v4()),
        owner: owner.id,
        stack: stack.clone(),
        build_stack: stack,
        is_stack_chosen: false,
        maintenance: false,
        buildpacks: Vec::new(),
        newest: Number(2),
        current: Number(2),
        config: vars::NONE.to_owned(),
        created_at_us: now_us,
        updated_at_us: now_us,
        released_at_us: None,
        name,
    };
    let (_, wrapped_key) = platform.keyring.make(app.id)?;
    let mut change = change.by(owner.id, "create app", app.name.as_str());
    change.create_app(&app, &platform.config.app_host(&app.name), &wrapped_key);
    for (number, description) in [(1, "Initial release"), (2, "Enable Logplex")] {
        let release = Release {
            id: Uuid::new_v4(),
            number: Number(number),
            description: description.to_owned(),
            status: Status::Succeeded,
            slug: None,
            commit: None,
            process_types: model::process::Types::new(),
            config: vars::NONE.to_owned(),
            by: owner.id,
            created_at_us: now_us,
            updated_at_us: now_us,
        };
        change.put_release(app.id, &release);
    }
    change.commit().await?;
    let who = &owner.email;
    for line in [
        format!("Initial release by user {who}"),
        format!("Release v1 created by user {who}"),
        format!("Enable Logplex by user {who}"),
        format!("Release v2 created by user {who}"),
    ] {
        platform.log.line(app.id, &line);
    }
    Ok(app)
}

/// Gives an app another name, and with it another host and git URL. The old ones are free at once.
pub(crate) async fn rename(
    platform: &Arc<Platform>,
    by: &Account,
    id: Id,
    name: Name,
) -> Result<App, Failure> {
    let change = platform.begin().await;
    let was = platform.records.app(id)?.ok_or_else(Failure::no_such_app)?;
    if was.name == name {
        return Ok(was);
    }
    if platform.records.app_named(&name)?.is_some() {
        return Err(Failure::invalid(format!("Name {name} is already taken")));
    }
    let app = App {
        name,
        updated_at_us: now_us(),
        ..was.clone()
    };
    let host = |name| platform.config.app_host(name);
    let mut change = change.by(by.id, "rename app", was.name.as_str());
    change.rename_app(&app, (&was.name, &host(&was.name)), &host(&app.name));
    change.commit().await?;
    let line = format!("Renamed {} to {} by user {}", was.name, app.name, by.email);
    platform.log.line(app.id, &line);
    Ok(app)
}

/// Removes an app and everything below it. Its dynos stop, its name and host are free at once.
pub(crate) async fn destroy(
    platform: &Arc<Platform>,
    by: &Account,
    id: Id,
) -> Result<App, Failure> {
    if let Some(running) = platform.deploys.of(id) {
        running.cancel();
    }
    let turn = platform
        .turns
        .take(id, "the app is being destroyed", DESTROY_TURN_WAIT)
        .await
        .map_err(|busy| Failure::conflict(format!("The app cannot be destroyed now: {busy}")))?;
    let mut change = platform.begin().await;
    let app = platform.records.app(id)?.ok_or_else(Failure::no_such_app)?;
    for want in platform.fleet.look(|view| view.of(id)) {
        change.remove_want(&want);
    }
    for build in platform.records.builds(id)? {
        change.remove_build(&build);
    }
    for domain in platform.records.domains(id)? {
        change.remove_domain(id, &domain);
    }
    change.remove_app(&app, &platform.config.app_host(&app.name));
    let change = change.by(by.id, "destroy app", app.name.as_str());
    change.commit().await?;
    platform.log.forget(id);
    drop(turn);
    Ok(app)
}

fn free_name(platform: &Platform) -> Result<Name, Failure> {
    for _ in 0..NAMES_TRIED {
        let name = generated_name();
        if platform.records.app_named(&name)?.is_none() {
            return Ok(name);
        }
    }
    Err(Failure::invalid(
        "No free name was found. Choose one: paas create NAME",
    ))
}

/// `adjective-noun-NNNNN`, as Heroku's.
fn generated_name() -> Name {
    const ADJECTIVES: [&str; 32] = [
        "autumn", "calm", "clear", "cold", "crisp", "deep", "early", "evening", "fast", "fresh",
        "gentle", "golden", "green", "hidden", "high", "late", "lively", "lone", "misty", "mighty",
        "morning", "quiet", "rapid", "shiny", "silent", "small", "snowy", "still", "summer",
        "sunny", "warm", "young",
    ];
    const NOUNS: [&str; 32] = [
        "bay", "beach", "bird", "brook", "cliff", "cloud", "coast", "creek", "dawn", "dew",
        "field", "fjord", "forest", "garden", "grove", "harbor", "hill", "island", "lake", "leaf",
        "meadow", "moon", "oasis", "peak", "pine", "plain", "reef", "ridge", "river", "shore",
        "stone", "wave",
    ];
    let [a, b, c, d, ..] = *Uuid::new_v4().as_bytes();
    let word = |words: &[&'static str; 32], byte: u8| {
        words.get(usize::from(byte) % 32).copied().unwrap_or("app")
    };
    let number = 10_000 + u32::from(u16::from_be_bytes([c, d]));
    let text = format!("{}-{}-{number}", word(&ADJECTIVES, a), word(&NOUNS, b));
    Name::parse(&text).expect("words and digits with dashes are a name")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_names_are_names() {
        for _ in 0..100 {
            assert_eq!(generated_name().as_str().split('-').count(), 3);
        }
    }
}
