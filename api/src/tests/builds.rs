//! Builds that are asked for over the API: ordered, taken, cancelled, and where their sources are.

use super::harness::{Peer, World};
use super::push::{first_push, roles};
use model::digest::Digest;
use model::feed::{Answer, Ask, BuildOrder, Item, Key, Place, Role, Source};
use serde_json::{Value, json};

/// The one build that the builder is told of: its id, and whether it is free.
fn told(peer: &Peer) -> Option<(uuid::Uuid, bool)> {
    peer.items.values().find_map(|item| match item {
        Item::Build(pending) => Some((pending.build, pending.is_free)),
        _ => None,
    })
}

async fn take(builder: &mut Peer) -> BuildOrder {
    let (build, _) = builder
        .until(|peer| told(peer).filter(|(_, is_free)| *is_free))
        .await;
    match builder.answer(Ask::TakeBuild { build }).await {
        Answer::Build(order) => *order,
        answer => panic!("{answer:?}"),
    }
}

async fn create(world: &World, blob: Value) -> Value {
    let made = world
        .call("POST /apps/hello/builds", json!({ "source_blob": blob }))
        .await;
    assert_eq!(made.status, 201, "{made:?}");
    made.json()
}

#[tokio::test]
async fn the_commit_of_a_build_is_built_again() {
    let world = World::new().await;
    world.call("POST /apps", json!({"name": "hello"})).await;
    let mut roles = roles(&world).await;
    first_push(&world, &mut roles).await;
    let builds = world.get("/apps/hello/builds").await.json();
    let made = create(&world, builds[0]["source_blob"].clone()).await;
    assert_eq!(
        (&made["status"], &made["source_blob"]["version"]),
        (&json!("pending"), &json!("a".repeat(40)))
    );
    let order = take(&mut roles.builder).await;
    assert_eq!(order.build.to_string(), made["id"].as_str().unwrap());
    let commit = "a".repeat(40);
    assert_eq!(order.source, Source::Commit { commit });
    roles
        .builder
        .until(|peer| (told(peer)? == (order.build, false)).then_some(()))
        .await;
    // A question whose answer was lost is asked again.
    let again = Ask::TakeBuild { build: order.build };
    assert!(matches!(
        roles.builder.answer(again).await,
        Answer::Build(_)
    ));
    let busy = world
        .call(
            "POST /apps/hello/builds",
            json!({"source_blob": made["source_blob"]}),
        )
        .await;
    assert_eq!(
        (busy.status.as_u16(), &busy.json()["id"]),
        (409, &json!("conflict"))
    );
    let manifest = super::push::manifest("a", &["web"]);
    let n = roles
        .builder
        .ask(Ask::Release {
            build: order.build,
            slug: Digest::new([7; 32]),
            manifest: Box::new(manifest),
        })
        .await;
    let want = roles
        .dynod
        .until(|peer| peer.wants().into_iter().find(|want| want.release.0 == 4))
        .await;
    let up = super::push::change(&want, model::dyno::State::Up);
    roles.dynod.event(up).await;
    let answer = roles
        .builder
        .until(|peer| peer.answers.get(&n).cloned())
        .await;
    assert!(matches!(answer, Answer::Released { .. }), "{answer:?}");
    roles
        .builder
        .until(|peer| told(peer).is_none().then_some(()))
        .await;
    let path = format!("/apps/hello/builds/{}", order.build);
    assert_eq!(world.get(&path).await.json()["status"], "succeeded");
    let late = world.call(&format!("DELETE {path}"), Value::Null).await;
    assert_eq!(late.status, 422);
    world.end().await;
}

#[tokio::test]
async fn cancelled_builds_are_told_to_the_builder_and_free_the_app() {
    let world = World::new().await;
    world.call("POST /apps", json!({"name": "hello"})).await;
    let blob = json!({"url": "https://example.org/x.tgz", "version": "v1"});
    let made = create(&world, blob.clone()).await;
    let path = format!("DELETE /apps/hello/builds/{}", made["id"].as_str().unwrap());
    // Nobody has taken it; the next api knows of it, too.
    let world = world.restarted().await;
    let mut builder = world.peer(Role::Builder).await;
    assert!(matches!(told(&builder), Some((_, true))));
    assert_eq!(
        world.call(&path, Value::Null).await.json()["status"],
        "failed"
    );
    builder
        .until(|peer| told(peer).is_none().then_some(()))
        .await;
    let build = uuid::Uuid::parse_str(made["id"].as_str().unwrap()).unwrap();
    let refused = builder.answer(Ask::TakeBuild { build }).await;
    assert!(matches!(refused, Answer::Refused { .. }), "{refused:?}");

    let made = create(&world, blob).await;
    let order = take(&mut builder).await;
    let Source::Archive {
        at: Place::Elsewhere { url },
        ..
    } = order.source
    else {
        panic!("{order:?}")
    };
    assert_eq!(url, "https://example.org/x.tgz");
    let path = format!("DELETE /apps/hello/builds/{}", made["id"].as_str().unwrap());
    assert_eq!(world.call(&path, Value::Null).await.status, 200);
    builder
        .until(|peer| (!peer.items.contains_key(&Key::Build(order.build))).then_some(()))
        .await;
    assert_eq!(world.call(&path, Value::Null).await.status, 422);
    world.end().await;
}

#[tokio::test]
async fn sources_are_uploaded_to_addresses_of_their_own() {
    let world = World::new().await;
    world.call("POST /apps", json!({"name": "hello"})).await;
    let made = world.call("POST /apps/hello/sources", Value::Null).await;
    assert_eq!(made.status, 201);
    let blob = made.json()["source_blob"].clone();
    let path = |name: &str| {
        let url = blob[name].as_str().unwrap();
        url.strip_prefix("http://api.paas.localhost")
            .unwrap()
            .to_owned()
    };
    let (put, get) = (path("put_url"), path("get_url"));
    assert_eq!(
        world
            .send(&format!("GET {get}"), "", &[], Value::Null)
            .await
            .status,
        404
    );
    let sent = world
        .send(&format!("PUT {put}"), "", &[], json!("bytes"))
        .await;
    assert_eq!(sent.status, 200, "{sent:?}");
    assert_eq!(
        world
            .send(&format!("GET {get}"), "", &[], Value::Null)
            .await
            .text,
        "\"bytes\""
    );
    // An address is good for what it says, and cannot be made up.
    for bad in [
        format!("PUT {get}"),
        format!("GET {put}"),
        format!("PUT {put}x"),
        format!("PUT {}", put.replace("/put/", "/put/../put/")),
    ] {
        assert_eq!(
            world.send(&bad, "", &[], json!("x")).await.status,
            404,
            "{bad}"
        );
    }
    let url = blob["get_url"].as_str().unwrap();
    let checksum = format!("SHA256:{}", "ab".repeat(32));
    create(&world, json!({"url": url, "checksum": checksum})).await;
    let mut builder = world.peer(Role::Builder).await;
    let order = take(&mut builder).await;
    let Source::Archive {
        at: Place::Uploaded { id },
        sha256: Some(sha256),
        version: None,
    } = order.source
    else {
        panic!("{order:?}")
    };
    assert_eq!(sha256, Digest::new([0xab; 32]));
    let file = world.folder.join("sources").join(id.to_string());
    assert_eq!(std::fs::read_to_string(file).unwrap(), "\"bytes\"");
    world.end().await;
}

#[tokio::test]
async fn what_can_be_no_source_is_refused() {
    let world = World::new().await;
    world.call("POST /apps", json!({"name": "hello"})).await;
    let git = "http://git.paas.localhost/hello.git";
    let path = "streams/sources/get/00000000-0000-4000-8000-000000000000/9999999999/x";
    let forged = format!("http://api.paas.localhost/{path}");
    for (body, said) in [
        (json!({}), "`source_blob` with its `url`"),
        (
            json!({"source_blob": {"version": "x"}}),
            "`source_blob` with its `url`",
        ),
        (
            json!({"source_blob": {"url": "file:///etc/passwd"}}),
            "http or https",
        ),
        (
            json!({"source_blob": {"url": "https://x/ y"}}),
            "http or https",
        ),
        (json!({"source_blob": {"url": git}}), "40 hex"),
        (
            json!({"source_blob": {"url": git, "version": "main"}}),
            "40 hex",
        ),
        (
            json!({"source_blob": {"url": forged}}),
            "no address that this platform gave out",
        ),
        (
            json!({"source_blob": {"url": "https://x", "checksum": "md5:x"}}),
            "SHA256:HEX",
        ),
        (
            json!({"source_blob": {"url": "https://x", "version": "a\nb"}}),
            "one line",
        ),
        (
            json!({"source_blob": {"url": "https://x"}, "buildpacks": [{"url": ""}]}),
            "`buildpack` is",
        ),
    ] {
        let answer = world.call("POST /apps/hello/builds", body.clone()).await;
        assert_eq!(answer.status, 422, "{body}");
        let message = answer.json()["message"].as_str().unwrap().to_owned();
        assert!(message.contains(said), "{body}: {message}");
    }
    assert_eq!(world.get("/apps/hello/builds").await.json(), json!([]));
    world.end().await;
}
