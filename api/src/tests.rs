//! Tests of the whole api, and samples that several tests use.

mod builds;
mod harness;
mod http;
mod inspect;
mod push;
mod run;
mod streams;

use crate::records::{App, Stage, Want};
use model::account;
use model::app::{Id, Name};
use model::digest::Digest;
use model::dyno::{self, Purpose, State};
use model::feed::DynoChange;
use model::process::Type;
use model::release::{Number, Release, Status};
use model::size::Size;
use uuid::Uuid;

pub(crate) fn app() -> App {
    App {
        id: Id::new(Uuid::from_u128(7)),
        name: Name::parse("hello").unwrap(),
        owner: account::Id::new(Uuid::from_u128(9)),
        stack: "debian-13".to_owned(),
        build_stack: "debian-13".to_owned(),
        is_stack_chosen: false,
        maintenance: false,
        buildpacks: Vec::new(),
        newest: Number(3),
        current: Number(3),
        config: crate::vars::NONE.to_owned(),
        created_at_us: 1,
        updated_at_us: 1,
        released_at_us: None,
    }
}

pub(crate) fn want(number: u128, name: &str, stage: Stage) -> Want {
    Want {
        dyno: dyno::Id::new(Uuid::from_u128(number)),
        node: "n1".to_owned(),
        app: app().id,
        name: dyno::Name::parse(name).unwrap(),
        release: Number(3),
        purpose: Purpose::Formation,
        command: "x".to_owned(),
        slug: Digest::new([1; 32]),
        config: crate::vars::NONE.to_owned(),
        overlay: None,
        size: Size::Basic,
        stage,
        created_at_us: u64::try_from(number).unwrap(),
    }
}

pub(crate) fn seen(number: u128, state: State) -> DynoChange {
    DynoChange {
        dyno: dyno::Id::new(Uuid::from_u128(number)),
        state,
        at_us: 5,
        address: (state == State::Up).then(|| "10.201.128.2:5000".parse().unwrap()),
        network: None,
        exit_code: None,
        failure: None,
    }
}

pub(crate) fn release(number: u64, types: &[&str]) -> Release {
    let command = |name: &&str| (Type::parse(name).unwrap(), format!("run {name}"));
    Release {
        id: Uuid::from_u128(u128::from(number)),
        number: Number(number),
        description: "x".to_owned(),
        status: Status::Succeeded,
        slug: Some(Digest::new([1; 32])),
        commit: None,
        process_types: types.iter().map(command).collect(),
        config: crate::vars::NONE.to_owned(),
        by: app().owner,
        created_at_us: 1,
        updated_at_us: 1,
    }
}
