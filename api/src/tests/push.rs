//! A push as the api sees it: builder, dynod and router are played over real sockets.

use super::harness::{Peer, World};
use model::account;
use model::digest::Digest;
use model::dyno::{Purpose, State, Want};
use model::feed::{Access, Answer, Ask, BuildOrder, DynoChange, Event, Role, Up};
use model::process::{Type, Types};
use model::route::{self, EndpointState};
use model::slug::{Blob, Manifest};
use serde_json::{Value, json};

pub(super) fn manifest(commit: &str, types: &[&str]) -> Manifest {
    let command = |name: &&str| (Type::parse(name).unwrap(), format!("run {name}"));
    let types: Types = types.iter().map(command).collect();
    Manifest {
        stack: "debian-13".to_owned(),
        app: Blob {
            digest: Digest::new([2; 32]),
            size_bytes: 1000,
        },
        layers: Vec::new(),
        process_types: types,
        commit: Some(commit.repeat(40)),
        description: Some("Python".to_owned()),
        image: None,
    }
}

pub(super) async fn start_build(world: &World, builder: &mut Peer, commit: &str) -> BuildOrder {
    let token = world.token.clone();
    let app = "hello".to_owned();
    let access = builder.answer(Ask::CheckToken { token, app }).await;
    let Answer::Access(Access::Granted { account, app, .. }) = access else {
        panic!("{access:?}")
    };
    match builder.answer(start(app.id, account, commit)).await {
        Answer::Build(order) => *order,
        answer => panic!("{answer:?}"),
    }
}

fn start(app: model::app::Id, account: account::Id, commit: &str) -> Ask {
    Ask::StartBuild {
        app,
        account,
        commit: commit.repeat(40),
    }
}

pub(super) fn release(order: &BuildOrder, commit: &str, types: &[&str]) -> Ask {
    Ask::Release {
        build: order.build,
        slug: Digest::new([commit.as_bytes()[0]; 32]),
        manifest: Box::new(manifest(commit, types)),
    }
}

pub(super) fn change(want: &Want, state: State) -> Event {
    Event::Dyno(DynoChange {
        dyno: want.dyno,
        state,
        at_us: 1,
        address: (state == State::Up).then(|| "10.201.128.2:5000".parse().unwrap()),
        network: None,
        exit_code: None,
        failure: None,
    })
}

fn names(peer: &Peer) -> Vec<String> {
    let name = |want: &Want| format!("{} {}", want.name, want.release);
    peer.wants().iter().map(name).collect()
}

/// Waits until the dynod is told exactly these dynos, e.g. `web.1 v3`.
async fn told(dynod: &mut Peer, expected: &[&str]) -> Vec<Want> {
    dynod
        .until(|peer| (names(peer) == expected).then(|| peer.wants()))
        .await
}

/// Everything is up at once.
async fn boot(dynod: &mut Peer, expected: &[&str]) -> Vec<Want> {
    let wants = told(dynod, expected).await;
    for want in &wants {
        dynod.event(change(want, State::Up)).await;
    }
    wants
}

pub(super) struct Roles {
    pub(super) builder: Peer,
    pub(super) dynod: Peer,
    pub(super) router: Peer,
}

pub(super) async fn roles(world: &World) -> Roles {
    Roles {
        builder: world.peer(Role::Builder).await,
        dynod: world.peer(Role::Dynod).await,
        router: world.peer(Role::Router).await,
    }
}

fn endpoints(peer: &Peer) -> Option<Vec<model::dyno::Id>> {
    match peer.route() {
        route::State::Web { endpoints } => {
            let is_up = |state| matches!(state, EndpointState::Up { .. });
            let all_up = endpoints.iter().all(|endpoint| is_up(endpoint.state));
            all_up.then(|| endpoints.iter().map(|endpoint| endpoint.dyno).collect())
        }
        _ => None,
    }
}

/// The first push, to the end; returns the web dyno.
pub(super) async fn first_push(world: &World, roles: &mut Roles) -> Want {
    let order = start_build(world, &mut roles.builder, "a").await;
    let n = roles
        .builder
        .ask(release(&order, "a", &["web", "worker"]))
        .await;
    let wants = boot(&mut roles.dynod, &["web.1 v3"]).await;
    let answer = roles
        .builder
        .until(|peer| peer.answers.get(&n).cloned())
        .await;
    let Answer::Released { number, url, .. } = answer else {
        panic!("{answer:?}")
    };
    assert_eq!(
        (number.0, url.as_str()),
        (3, "http://hello.paas.localhost/")
    );
    let shown = roles.router.until(endpoints).await;
    assert_eq!(shown, [wants[0].dyno]);
    wants[0].clone()
}

#[tokio::test]
async fn a_push_serves_and_the_next_one_replaces_it_without_a_gap() {
    let world = World::new().await;
    world.call("POST /apps", json!({"name": "hello"})).await;
    world
        .call("PATCH /apps/hello/config-vars", json!({"SECRET": "s"}))
        .await;
    world
        .call("PATCH /apps/hello/config-vars", json!({"SECRET": null}))
        .await;
    world.end().await;

    let world = World::new().await;
    world.call("POST /apps", json!({"name": "hello"})).await;
    let mut roles = roles(&world).await;
    assert_eq!(roles.router.route(), route::State::Blank);
    let old = first_push(&world, &mut roles).await;
    let formation = world.get("/apps/hello/formation").await.json();
    assert_eq!(
        (&formation[0]["type"], &formation[0]["quantity"]),
        (&json!("web"), &json!(1))
    );
    assert_eq!(formation[1]["quantity"], 0);
    let dynos = world.get("/apps/hello/dynos").await.json();
    assert_eq!(
        (&dynos[0]["name"], &dynos[0]["state"]),
        (&json!("web.1"), &json!("up"))
    );
    let build = world.get("/apps/hello/builds").await.json();
    assert_eq!(build[0]["status"], "succeeded");

    let order = start_build(&world, &mut roles.builder, "b").await;
    assert_eq!(order.current.unwrap().0, 3);
    let n = roles.builder.ask(release(&order, "b", &["web"])).await;
    let wants = told(&mut roles.dynod, &["web.1 v3", "web.1 v4"]).await;
    assert_eq!(
        endpoints(&roles.router).unwrap(),
        [old.dyno],
        "the old one serves while the new boots"
    );
    roles.dynod.event(change(&wants[1], State::Starting)).await;
    roles.dynod.event(change(&wants[1], State::Up)).await;
    let answer = roles
        .builder
        .until(|peer| peer.answers.get(&n).cloned())
        .await;
    assert!(matches!(answer, Answer::Released { .. }), "{answer:?}");
    let new = wants[1].dyno;
    roles
        .router
        .until(|peer| (endpoints(peer)? == [new]).then_some(()))
        .await;
    assert_eq!(names(&roles.dynod).len(), 2, "the old one drains");
    roles.router.event(Event::Drained { dyno: old.dyno }).await;
    told(&mut roles.dynod, &["web.1 v4"]).await;
    // The question once more, as after a lost connection: the same answer.
    let again = roles.builder.answer(release(&order, "b", &["web"])).await;
    assert_eq!(again, answer);
    world.end().await;
}

#[tokio::test]
async fn dynos_that_do_not_boot_leave_the_old_release() {
    let world = World::new().await;
    world.call("POST /apps", json!({"name": "hello"})).await;
    let mut roles = roles(&world).await;
    let old = first_push(&world, &mut roles).await;
    let order = start_build(&world, &mut roles.builder, "b").await;
    let n = roles.builder.ask(release(&order, "b", &["web"])).await;
    let wants = told(&mut roles.dynod, &["web.1 v3", "web.1 v4"]).await;
    let Event::Dyno(crashed) = change(&wants[1], State::Crashed) else {
        unreachable!()
    };
    let failure = Some("it listens on 127.0.0.1:5000 only\nlisten on 0.0.0.0:$PORT".to_owned());
    roles
        .dynod
        .event(Event::Dyno(DynoChange { failure, ..crashed }))
        .await;
    let answer = roles
        .builder
        .until(|peer| peer.answers.get(&n).cloned())
        .await;
    let Answer::NotReleased { reason, lines } = answer else {
        panic!("{answer:?}")
    };
    assert_eq!(reason, "dynos did not boot");
    assert_eq!(
        lines,
        [
            "web.1: it listens on 127.0.0.1:5000 only",
            "listen on 0.0.0.0:$PORT"
        ]
    );
    told(&mut roles.dynod, &["web.1 v3"]).await;
    assert_eq!(endpoints(&roles.router).unwrap(), [old.dyno]);
    let release = world.get("/apps/hello/releases/4").await.json();
    assert_eq!(
        (&release["status"], &release["current"]),
        (&json!("failed"), &json!(false))
    );
    assert_eq!(
        world.get("/apps/hello/builds").await.json()[1]["status"],
        "failed"
    );
    world.end().await;
}

#[tokio::test]
async fn the_release_phase_runs_first_and_its_failure_stops_the_release() {
    let world = World::new().await;
    world.call("POST /apps", json!({"name": "hello"})).await;
    let mut roles = roles(&world).await;
    for (commit, exit_code, is_released) in [("a", 1, false), ("b", 0, true)] {
        let order = start_build(&world, &mut roles.builder, commit).await;
        let n = roles
            .builder
            .ask(release(&order, commit, &["web", "release"]))
            .await;
        let find = |peer: &Peer| {
            let wants = peer.wants();
            wants
                .into_iter()
                .find(|want| want.purpose == Purpose::Release)
        };
        let command = roles.dynod.until(find).await;
        assert_eq!(command.command, "run release");
        let Event::Dyno(complete) = change(&command, State::Complete) else {
            unreachable!()
        };
        let exit_code = Some(exit_code);
        roles
            .dynod
            .event(Event::Dyno(DynoChange {
                exit_code,
                ..complete
            }))
            .await;
        if is_released {
            boot(&mut roles.dynod, &["web.1 v4"]).await;
        }
        let answer = roles
            .builder
            .until(|peer| peer.answers.get(&n).cloned())
            .await;
        match answer {
            Answer::Released { number, .. } if is_released => assert_eq!(number.0, 4),
            Answer::NotReleased { reason, lines } if !is_released => {
                assert_eq!(reason, "release phase failed");
                assert_eq!(lines, ["the release command exited with status 1"]);
                told(&mut roles.dynod, &[]).await;
            }
            answer => panic!("{answer:?}"),
        }
    }
    world.end().await;
}

#[tokio::test]
async fn an_api_that_is_started_anew_goes_on_with_the_release() {
    let world = World::new().await;
    world.call("POST /apps", json!({"name": "hello"})).await;
    let mut before = roles(&world).await;
    let old = first_push(&world, &mut before).await;
    let order = start_build(&world, &mut before.builder, "b").await;
    before.builder.ask(release(&order, "b", &["web"])).await;
    told(&mut before.dynod, &["web.1 v3", "web.1 v4"]).await;
    let world = world.restarted().await;
    drop(before);

    // The router is told nothing before every dyno was reported: its endpoints would be gone.
    let mut builder = world.peer(Role::Builder).await;
    let mut router = world
        .connect(Role::Router, model::feed::Purpose::Feed)
        .await;
    let n = builder.ask(release(&order, "b", &["web"])).await;
    let mut dynod = world.peer(Role::Dynod).await;
    let wants = told(&mut dynod, &["web.1 v3", "web.1 v4"]).await;
    dynod.event(change(&wants[0], State::Up)).await;
    dynod.event(change(&wants[1], State::Starting)).await;
    router.receive().await;
    assert_eq!(endpoints(&router).unwrap(), [old.dyno]);
    dynod.event(change(&wants[1], State::Up)).await;
    let answer = builder.until(|peer| peer.answers.get(&n).cloned()).await;
    assert!(matches!(answer, Answer::Released { .. }), "{answer:?}");
    world.end().await;
}

#[tokio::test]
async fn builds_take_turns_and_can_be_given_up() {
    let world = World::new().await;
    world.call("POST /apps", json!({"name": "hello"})).await;
    let mut roles = roles(&world).await;
    let first = start_build(&world, &mut roles.builder, "a").await;
    let account = world.platform.records.apps().unwrap()[0].owner;
    let second = roles
        .builder
        .answer(start(first.app.id, account, "b"))
        .await;
    let Answer::Refused { message } = second else {
        panic!("{second:?}")
    };
    assert!(
        message.starts_with("hello is being built already (commit aaaaaaaa)"),
        "{message}"
    );
    let again = roles
        .builder
        .answer(start(first.app.id, account, "a"))
        .await;
    assert!(matches!(again, Answer::Build(order) if order.build == first.build));
    let (build, reason) = (first.build, "cancelled".to_owned());
    assert_eq!(
        roles
            .builder
            .answer(Ask::BuildFailed { build, reason })
            .await,
        Answer::Done
    );

    // A release that nobody waits for any more is undone.
    let third = start_build(&world, &mut roles.builder, "c").await;
    let n = roles.builder.ask(release(&third, "c", &["web"])).await;
    told(&mut roles.dynod, &["web.1 v3"]).await;
    roles.builder.up(&Up::Forget { n }).await;
    told(&mut roles.dynod, &[]).await;
    let fourth = start_build(&world, &mut roles.builder, "d").await;
    assert_eq!(fourth.current, None);
    world.end().await;
}

#[tokio::test]
async fn scale_and_restart() {
    let world = World::new().await;
    world.call("POST /apps", json!({"name": "hello"})).await;
    let mut roles = roles(&world).await;
    let first = first_push(&world, &mut roles).await;
    let wish =
        json!({"updates": [{"type": "web", "quantity": "+1"}, {"type": "worker", "quantity": 1}]});
    let scaled = world.call("PATCH /apps/hello/formation", wish).await;
    assert_eq!(scaled.json()[0]["quantity"], 2, "{scaled:?}");
    boot(&mut roles.dynod, &["web.1 v3", "web.2 v3", "worker.1 v3"]).await;
    let down = world
        .call("PATCH /apps/hello/formation/web", json!({"quantity": 1}))
        .await;
    assert_eq!(down.status, 200);
    let is_one = |peer: &Peer| endpoints(peer).filter(|all| all.len() == 1);
    roles.router.until(is_one).await;
    let leaving = roles.dynod.wants()[1].dyno;
    roles.router.event(Event::Drained { dyno: leaving }).await;
    told(&mut roles.dynod, &["web.1 v3", "worker.1 v3"]).await;

    // A restarted web dyno serves until the next one is up; the others are swapped at once.
    assert_eq!(
        world
            .call("DELETE /apps/hello/dynos", Value::Null)
            .await
            .status,
        202
    );
    let wants = told(&mut roles.dynod, &["web.1 v3", "web.1 v3", "worker.1 v3"]).await;
    let new = wants
        .iter()
        .find(|want| want.name.to_string() == "web.1" && want.dyno != first.dyno);
    let new = new.unwrap();
    assert_eq!(endpoints(&roles.router).unwrap(), [first.dyno]);
    roles.dynod.event(change(new, State::Up)).await;
    roles
        .router
        .until(|peer| (endpoints(peer)? == [new.dyno]).then_some(()))
        .await;
    roles
        .router
        .event(Event::Drained { dyno: first.dyno })
        .await;
    told(&mut roles.dynod, &["web.1 v3", "worker.1 v3"]).await;

    world.end().await;
}

#[tokio::test]
async fn config_changes_and_rollbacks_replace_the_dynos() {
    let world = World::new().await;
    world.call("POST /apps", json!({"name": "hello"})).await;
    let mut roles = roles(&world).await;
    first_push(&world, &mut roles).await;
    let patch = world.call("PATCH /apps/hello/config-vars", json!({"A": "1"}));
    let dynod = async {
        let wants = told(&mut roles.dynod, &["web.1 v3", "web.1 v4"]).await;
        assert_eq!(wants[1].config.get("A").map(String::as_str), Some("1"));
        roles.dynod.event(change(&wants[1], State::Up)).await;
    };
    let (patched, ()) = tokio::join!(patch, dynod);
    assert_eq!(
        (patched.status.as_u16(), patched.header("warning-message")),
        (200, "")
    );
    let rollback = world.call("POST /apps/hello/releases", json!({"release": 3}));
    let dynod = async {
        let find = |peer: &Peer| {
            let wants = peer.wants();
            wants.into_iter().find(|want| want.release.0 == 5)
        };
        let want = roles.dynod.until(find).await;
        assert!(want.config.is_empty(), "the config vars of v3");
        roles.dynod.event(change(&want, State::Up)).await;
    };
    let (rolled, ()) = tokio::join!(rollback, dynod);
    assert_eq!(rolled.status, 201, "{rolled:?}");
    assert_eq!(rolled.json()["description"], "Rollback to v3");
    assert_eq!(
        (&rolled.json()["version"], &rolled.json()["current"]),
        (&json!(5), &json!(true))
    );
    assert_eq!(world.get("/apps/hello/config-vars").await.json(), json!({}));
    world.end().await;
}

#[tokio::test]
async fn peers_are_who_the_kernel_says() {
    let world = World::new().await;
    let refused = world
        .connect(Role::Operator, model::feed::Purpose::Feed)
        .await;
    let mut refused = refused;
    refused.receive().await;
    assert!(refused.refused.is_some());
    let mut api = world.connect(Role::Api, model::feed::Purpose::Feed).await;
    api.receive().await;
    assert!(api.refused.unwrap().contains("is not the one of this role"));
    let mut operator = world
        .connect(Role::Operator, model::feed::Purpose::Ask)
        .await;
    let email = account::Email::parse("root@example.org").unwrap();
    let description = "login".to_owned();
    let answer = operator
        .answer(Ask::IssueToken { email, description })
        .await;
    let Answer::Token { token, .. } = answer else {
        panic!("{answer:?}")
    };
    let me = world.send("GET /account", &token, &[], Value::Null).await;
    assert_eq!(me.json()["email"], "root@example.org");
    let mut builder = world.peer(Role::Builder).await;
    let token = "wrong".to_owned();
    let app = "hello".to_owned();
    let access = builder.answer(Ask::CheckToken { token, app }).await;
    assert_eq!(access, Answer::Access(Access::BadToken));
    world.end().await;
}
