//! Logs and outputs as they grow, and the API on its socket.

use super::harness::{Got, Peer, WAIT, World};
use super::push::{change, manifest, roles, start_build};
use axum::body::Body;
use http::Request;
use http_body_util::BodyExt as _;
use journal::{Line, Source, Writer};
use link::http::Client;
use model::digest::Digest;
use model::dyno::{Purpose, State};
use model::feed::{Ask, DynoChange, Event};
use serde_json::{Value, json};
use std::sync::Arc;

/// The dynod's journal of the only app.
fn journal_of(world: &World) -> Writer {
    let app = &world.platform.records.apps().unwrap()[0];
    let folder = world.platform.log.dynos(app.id);
    std::fs::create_dir_all(folder.parent().unwrap()).unwrap();
    Writer::open(&folder, journal::Limits::default()).unwrap()
}

fn line(process: &str, text: &str) -> Line {
    Line {
        at_us: crate::clock::now_us(),
        source: Source::App,
        process: process.to_owned(),
        text: text.as_bytes().to_vec(),
    }
}

/// Opens a stream of an address in an answer.
async fn open(world: &World, url: &Value, accept: &str) -> Body {
    let path = url
        .as_str()
        .unwrap()
        .strip_prefix("http://api.paas.localhost")
        .unwrap();
    let request = Request::builder().uri(path).header("accept", accept);
    let response = world.api.answer(request.body(Body::empty()).unwrap()).await;
    assert_eq!(response.status(), 200);
    response.into_body()
}

/// Takes the next part.
async fn next(body: &mut Body) -> String {
    let frame = tokio::time::timeout(WAIT, body.frame()).await.unwrap();
    let data = frame
        .expect("the stream goes on")
        .unwrap()
        .into_data()
        .unwrap();
    String::from_utf8(data.to_vec()).unwrap()
}

#[tokio::test]
async fn a_tail_goes_on_where_it_was() {
    let world = World::new().await;
    world.call("POST /apps", json!({"name": "hello"})).await;
    let mut journal = journal_of(&world);
    journal.append(&line("web.1", "old")).unwrap();
    let wish = json!({"dyno": "web", "tail": true});
    let session = world
        .call("POST /apps/hello/log-sessions", wish)
        .await
        .json();
    let url = &session["logplex_url"];
    let mut events = open(&world, url, "text/event-stream").await;
    assert!(next(&mut events).await.ends_with("app[web.1]: old\n\n"));
    journal.append(&line("worker.1", "not shown")).unwrap();
    journal.append(&line("web.1", "new")).unwrap();
    let event = next(&mut events).await;
    assert!(
        event.ends_with("app[web.1]: new\n\n") && event.starts_with("id: "),
        "{event}"
    );
    let id = event.lines().next().unwrap().strip_prefix("id: ").unwrap();
    drop(events);
    journal.append(&line("web.2", "newer")).unwrap();
    let path = url
        .as_str()
        .unwrap()
        .strip_prefix("http://api.paas.localhost")
        .unwrap();
    let back = Request::builder()
        .uri(path)
        .header("accept", "text/event-stream")
        .header("last-event-id", id);
    let mut again = world
        .api
        .answer(back.body(Body::empty()).unwrap())
        .await
        .into_body();
    let event = next(&mut again).await;
    assert!(event.ends_with("app[web.2]: newer\n\n"), "{event}");
    assert!(!event.contains("new\n"), "nothing twice");
    drop(again);
    world.end().await;
}

#[tokio::test]
async fn the_output_of_a_release_phase_is_live_and_stays() {
    let world = World::new().await;
    world.call("POST /apps", json!({"name": "hello"})).await;
    let mut roles = roles(&world).await;
    let mut journal = journal_of(&world);
    let order = start_build(&world, &mut roles.builder, "a").await;
    let n = roles
        .builder
        .ask(Ask::Release {
            build: order.build,
            slug: Digest::new([1; 32]),
            manifest: Box::new(manifest("a", &["release"])),
        })
        .await;
    let find = |peer: &Peer| {
        let wants = peer.wants();
        wants
            .into_iter()
            .find(|want| want.purpose == Purpose::Release)
    };
    let command = roles.dynod.until(find).await;
    let release = world.get("/apps/hello/releases/3").await.json();
    assert_eq!(release["status"], "pending");
    let mut output = open(&world, &release["output_stream_url"], "*/*").await;
    journal
        .append(&line(&command.name.to_string(), "migrating"))
        .unwrap();
    assert_eq!(next(&mut output).await, "migrating\n");
    roles
        .builder
        .until(|peer| (peer.progress == ["migrating"]).then_some(()))
        .await;

    journal
        .append(&line(&command.name.to_string(), "done"))
        .unwrap();
    let ended = Line {
        source: Source::Heroku,
        ..line(
            &command.name.to_string(),
            "State changed from up to complete",
        )
    };
    journal.append(&ended).unwrap();
    let Event::Dyno(complete) = change(&command, State::Complete) else {
        unreachable!()
    };
    let exit_code = Some(0);
    roles
        .dynod
        .event(Event::Dyno(DynoChange {
            exit_code,
            ..complete
        }))
        .await;
    assert_eq!(next(&mut output).await, "done\n");
    assert!(output.frame().await.is_none());
    let release = world.get("/apps/hello/releases/3").await.json();
    assert_eq!(
        release["status"], "succeeded",
        "final before the output ends"
    );
    roles
        .builder
        .until(|peer| peer.answers.get(&n).cloned())
        .await;
    assert_eq!(roles.builder.progress, ["migrating", "done"]);
    let kept = open(&world, &release["output_stream_url"], "*/*").await;
    let kept = kept.collect().await.unwrap().to_bytes();
    assert_eq!(kept, "migrating\ndone\n");
    world.end().await;
}

#[tokio::test]
async fn the_api_on_its_socket() {
    let world = World::new().await;
    let socket = world.folder.join("api.sock");
    let listener = tokio::net::UnixListener::bind(&socket).unwrap();
    let serving = crate::http::serve(Arc::clone(&world.platform), listener);
    world.platform.tasks.spawn(serving);
    let client = Client::unix(&socket, "api.paas.localhost").with_bearer(&world.token);
    let body = json!({"name": "hello"});
    let made = client
        .ask(http::Method::POST, "/apps", Some(&body))
        .await
        .unwrap();
    assert_eq!(made.status, 201);
    let got: Got = world.get("/apps/hello").await;
    let over_socket = client
        .ask(http::Method::GET, "/apps/hello", None)
        .await
        .unwrap();
    assert_eq!(over_socket.json::<Value>().unwrap(), got.json());
    drop(client);
    world.end().await;
}
