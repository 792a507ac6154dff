//! Questions about a dyno, answered by its node: the dynod is played.

use super::harness::{Got, World};
use super::push::{Roles, first_push, roles};
use model::dyno::Network;
use model::feed::{Answer, DynoChange, Event, Up};
use model::query::{Port, Query, Refusal, Reply, Step};
use serde_json::json;

/// Asks for something of web.1 while its node replies.
async fn ask(world: &World, roles: &mut Roles, what: &str, reply: Reply) -> (Query, Got) {
    roles.dynod.queries.clear();
    let path = format!("/paas/apps/hello/dynos/web.1/{what}");
    let (got, query) = tokio::join!(world.get(&path), async {
        let (n, query) = roles.dynod.until(|peer| peer.queries.last().copied()).await;
        roles.dynod.up(&Up::Reply { n, reply }).await;
        query
    });
    (query, got)
}

fn port() -> Port {
    Port {
        network: Network::Central,
        address: "10.201.0.3".parse().unwrap(),
        port: 10_000,
        listening: vec!["10.201.0.3:10000".parse().unwrap()],
        refusals: vec![Refusal {
            what: "connect to 10.201.0.4:10001".to_owned(),
            errno: 111,
            count: 2,
        }],
        bytes_in: 1,
        bytes_out: 2,
    }
}

#[tokio::test]
async fn a_node_tells_of_a_dynos_port_and_start() {
    let world = World::new().await;
    world.call("POST /apps", json!({"name": "hello"})).await;
    let mut roles = roles(&world).await;
    let dyno = first_push(&world, &mut roles).await.dyno;

    let (query, got) = ask(&world, &mut roles, "port", Reply::Port(port())).await;
    assert_eq!(query, Query::Port { dyno });
    let said = got.json();
    assert_eq!(
        (&said["dyno"]["name"], &said["network"], &said["port"]),
        (&json!("web.1"), &json!({"mode": "central"}), &json!(10_000))
    );
    assert_eq!(
        said["refusals"],
        json!([{"what": "connect to 10.201.0.4:10001", "errno": 111, "error": "ECONNREFUSED", "count": 2}])
    );

    let name = "cgroup".to_owned();
    let duration_us = 44;
    let steps = vec![Step { name, duration_us }];
    let (query, got) = ask(&world, &mut roles, "start", Reply::Start { steps }).await;
    assert_eq!(query, Query::Start { dyno });
    assert_eq!(
        got.json()["steps"],
        json!([{"name": "cgroup", "duration_us": 44}])
    );

    let message = "it does not run".to_owned();
    let (_, got) = ask(&world, &mut roles, "start", Reply::None { message }).await;
    assert_eq!(got.status, 409);
    assert_eq!(got.json()["message"], "web.1: it does not run.");

    let unknown = world.get("/paas/apps/hello/dynos/web.9/port").await;
    assert_eq!(unknown.status, 404);
    drop(roles.dynod);
    let away = world.get("/paas/apps/hello/dynos/web.1/port").await;
    assert_eq!(away.status, 503, "{away:?}");
    world.end().await;
}

#[tokio::test]
async fn a_push_and_the_list_say_why_dynos_run_isolated() {
    let world = World::new().await;
    world.call("POST /apps", json!({"name": "hello"})).await;
    let mut roles = roles(&world).await;
    let order = super::push::start_build(&world, &mut roles.builder, "a").await;
    let n = roles
        .builder
        .ask(super::push::release(&order, "a", &["web"]))
        .await;
    let dyno = roles
        .dynod
        .until(|peer| Some(peer.wants().first()?.dyno))
        .await;
    let network = Network::Isolated {
        fallback: Some("bpf() is refused here".to_owned()),
    };
    let change = DynoChange {
        network: Some(network),
        ..super::seen(0, model::dyno::State::Up)
    };
    roles
        .dynod
        .event(Event::Dyno(DynoChange { dyno, ..change }))
        .await;
    let answer = roles
        .builder
        .until(|peer| peer.answers.get(&n).cloned())
        .await;
    let Answer::Released { fallback, .. } = answer else {
        panic!("{answer:?}")
    };
    assert_eq!(fallback.as_deref(), Some("bpf() is refused here"));
    let dynos = world.get("/apps/hello/dynos").await.json();
    assert_eq!(
        dynos[0]["network"],
        json!({"mode": "isolated", "fallback": "bpf() is refused here"})
    );
    world.end().await;
}
