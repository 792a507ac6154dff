//! The API through its real router.

use super::harness::World;
use crate::records::Scope;
use serde_json::{Value, json};

#[tokio::test]
async fn an_app_from_its_creation_to_its_end() {
    let world = World::new().await;
    let made = world.call("POST /apps", json!({"name": "hello"})).await;
    assert_eq!(made.status, 201, "{made:?}");
    let app = made.json();
    assert_eq!(app["web_url"], "http://hello.paas.localhost/");
    assert_eq!(app["git_url"], "http://git.paas.localhost/hello.git");
    assert_eq!(app["owner"]["email"], "me@example.org");
    for field in [
        "repo_size",
        "slug_size",
        "build_stack",
        "generation",
        "released_at",
    ] {
        assert!(app.get(field).is_some(), "{field}");
    }
    let again = world.call("POST /apps", json!({"name": "hello"})).await;
    assert_eq!(again.status, 422);
    assert_eq!(again.json()["message"], "Name hello is already taken");

    let by_id = world
        .get(&format!("/apps/{}", app["id"].as_str().unwrap()))
        .await;
    assert_eq!(by_id.json(), app);
    let releases = world.get("/apps/hello/releases").await.json();
    let shown: Vec<_> = releases.as_array().unwrap().iter().collect();
    assert_eq!(shown.len(), 2);
    assert_eq!(shown[0]["description"], "Initial release");
    assert_eq!(
        (&shown[1]["version"], &shown[1]["current"]),
        (&json!(2), &json!(true))
    );
    for path in ["addons", "formation", "dynos", "builds", "features"] {
        let got = world.get(&format!("/apps/hello/{path}")).await;
        assert_eq!(
            (got.status.as_u16(), got.json()),
            (200, json!([])),
            "{path}"
        );
    }
    let domains = world.get("/apps/hello/domains").await.json();
    assert_eq!(domains[0]["hostname"], "hello.paas.localhost");

    assert_eq!(
        world.call("DELETE /apps/hello", Value::Null).await.status,
        200
    );
    assert_eq!(world.get("/apps/hello").await.status, 404);
    assert_eq!(world.get("/apps").await.json(), json!([]));
    assert_eq!(
        world
            .call("POST /apps", json!({"name": "hello"}))
            .await
            .status,
        201
    );
    world.end().await;
}

#[tokio::test]
async fn an_app_has_another_name_and_other_hosts() {
    let world = World::new().await;
    world.call("POST /apps", json!({"name": "hello"})).await;
    let hosts = |domains: Value| -> Vec<String> {
        let domains = domains.as_array().unwrap().iter();
        domains
            .map(|domain| domain["hostname"].as_str().unwrap().to_owned())
            .collect()
    };
    for hostname in ["WWW.Example.com.", "*.example.com"] {
        let wish = json!({"hostname": hostname, "sni_endpoint": null});
        let made = world.call("POST /apps/hello/domains", wish).await;
        assert_eq!(made.status, 201, "{made:?}");
        assert_eq!(made.json()["cname"], "hello.paas.localhost");
    }
    let mut router = world.peer(model::feed::Role::Router).await;
    let told = |items: &std::collections::HashMap<_, model::feed::Item>| {
        items.values().find_map(|item| match item {
            model::feed::Item::Route(route) => Some(route.hosts.clone()),
            _ => None,
        })
    };
    let first = ["hello.paas.localhost", "*.example.com", "www.example.com"];
    assert_eq!(told(&router.items).unwrap(), first);

    let renamed = world
        .call("PATCH /apps/hello", json!({"name": "bye"}))
        .await;
    assert_eq!(renamed.status, 200, "{renamed:?}");
    assert_eq!(
        renamed.json()["git_url"],
        "http://git.paas.localhost/bye.git"
    );
    assert_eq!(world.get("/apps/hello").await.status, 404);
    let second = ["bye.paas.localhost", "*.example.com", "www.example.com"];
    router
        .until(|peer| (told(&peer.items)? == second).then_some(()))
        .await;
    let mut listed = hosts(world.get("/apps/bye/domains").await.json());
    listed.sort();
    assert_eq!(
        listed,
        ["*.example.com", "bye.paas.localhost", "www.example.com"]
    );

    let again = world.call("POST /apps", json!({"name": "hello"})).await;
    assert_eq!(again.status, 201, "the old name is free");
    let wish = json!({"hostname": "www.example.com"});
    let theirs = world.call("POST /apps/hello/domains", wish.clone()).await;
    assert_eq!(theirs.status, 422);
    let path = "DELETE /apps/bye/domains/www.example.com";
    assert_eq!(world.call(path, Value::Null).await.status, 200);
    assert_eq!(
        world.call("DELETE /apps/bye", Value::Null).await.status,
        200
    );
    let mine = world.call("POST /apps/hello/domains", wish).await;
    assert_eq!(mine.status, 201, "{mine:?}");
    let rest = json!({"hostname": "*.example.com"});
    let rest = world.call("POST /apps/hello/domains", rest).await;
    assert_eq!(
        rest.status, 201,
        "a destroyed app leaves its hosts: {rest:?}"
    );
    world.end().await;
}

/// Request, body, status, part of the message.
const BAD_INPUT: &str = r#"
GET /nothing | null | 404 | The requested API endpoint was not found.
PUT /apps | null | 404 | The requested API endpoint was not found.
GET /apps/none | null | 404 | Couldn't find that app.
POST /apps | {"name": "api"} | 422 | `name`: this name is reserved
POST /apps | {"name": "x"} | 422 | `name`: app names are 3 to 30
POST /apps | {"nam": "x"} | 422 | unknown field `nam`
POST /apps | {"space": "x"} | 422 | `space` is not available
POST /apps | {"stack": "cnb"} | 422 | there is no stack `cnb`
POST /apps | [] | 422 | refused
PATCH /apps/hello | {"name": "git"} | 422 | `name`: this name is reserved
PATCH /apps/hello | {"name": "taken"} | 422 | Name taken is already taken
PATCH /apps/hello/formation | {"updates": [{"type": "web", "quantity": 1}]} | 404 | Couldn't find that process type.
PATCH /apps/hello/formation | {"updates": [{"type": "web", "number": 1}]} | 422 | unknown field `number`
POST /apps/hello/dynos | {"command": "ls"} | 409 | has nothing to run yet
POST /apps/hello/dynos | null | 422 | missing field `command`
POST /apps/hello/releases | {"release": "v2"} | 422 | Cannot roll back to v2
POST /apps/hello/releases | {"release": 9} | 404 | Couldn't find that release.
POST /apps/hello/releases | {} | 422 | Give either `release` or `slug`.
DELETE /apps/hello/dynos/web.1 | null | 404 | Couldn't find that dyno.
DELETE /apps/hello/formations/web | null | 404 | Couldn't find that process type.
POST /apps/hello/builds | {} | 422 | `source_blob` with its `url` is needed
POST /apps/hello/domains | {} | 422 | missing field `hostname`
POST /apps/hello/domains | {"hostname": "x"} | 422 | x is no host name
POST /apps/hello/domains | {"hostname": "10.0.0.1"} | 422 | is an address
POST /apps/hello/domains | {"hostname": "api.paas.localhost"} | 422 | belongs to the platform
POST /apps/hello/domains | {"hostname": "a.com", "sni_endpoint": "x"} | 422 | `sni_endpoint`
POST /apps/hello/domains | {"hostname": "taken.example"} | 422 | is added already
DELETE /apps/hello/domains/a.com | null | 404 | Couldn't find that domain.
DELETE /apps/hello/domains/hello.paas.localhost | null | 422 | cannot be removed
POST /apps/hello/log-sessions | {"lines": 0} | 422 | `lines` is 1 to 1500.
GET /apps/hello/pipeline-couplings | null | 404 | Couldn't find that pipeline coupling.
DELETE /oauth/sessions/~ | null | 404 | Couldn't find that session.
GET /account/features/x | null | 404 | Couldn't find that feature.
GET /users/you@example.org | null | 404 | Couldn't find that user.
GET /streams/logs/x/y | null | 404 | This log session has ended.
GET /streams/builds/x/y/z | null | 400 | The request cannot be read.
"#;

#[tokio::test]
async fn bad_input_has_a_message() {
    let world = World::new().await;
    world.call("POST /apps", json!({"name": "hello"})).await;
    world.call("POST /apps", json!({"name": "taken"})).await;
    let taken = json!({"hostname": "taken.example"});
    assert_eq!(
        world.call("POST /apps/taken/domains", taken).await.status,
        201
    );
    for row in BAD_INPUT.trim().lines() {
        let cells: Vec<_> = row.split(" | ").collect();
        let got = world
            .call(cells[0], serde_json::from_str(cells[1]).unwrap())
            .await;
        assert_eq!(got.status.as_str(), cells[2], "{row}: {got:?}");
        let error = got.json();
        let text = error["message"].as_str().unwrap();
        assert!(text.contains(cells[3]), "{row}: {text}");
        assert!(error["id"].is_string(), "{row}");
    }
    let large = json!({"name": "x".repeat(1024 * 1024)});
    assert_eq!(world.call("POST /apps", large).await.status, 413);
    world.end().await;
}

#[tokio::test]
async fn protocol() {
    let world = World::new().await;
    world.call("POST /apps", json!({"name": "hello"})).await;
    let token = world.token.clone();

    let got = world.get("/apps/hello").await;
    let tag = got.header("etag").to_owned();
    assert!(tag.starts_with("W/\""), "{got:?}");
    assert_eq!(got.header("content-type"), "application/json");
    assert_eq!(got.header("request-id").len(), 36);
    assert_eq!(got.header("ratelimit-remaining"), "4498");
    let same = world
        .send(
            "GET /apps/hello",
            &token,
            &[("if-none-match", &tag)],
            Value::Null,
        )
        .await;
    assert_eq!((same.status.as_u16(), same.text.as_str()), (304, ""));
    let head = world
        .send("HEAD /apps/hello", &token, &[], Value::Null)
        .await;
    assert_eq!((head.status.as_u16(), head.text.as_str()), (200, ""));
    assert_eq!(head.header("content-length"), got.text.len().to_string());

    let v2 = [("accept", "application/vnd.heroku+json; version=2")];
    assert_eq!(
        world
            .send("GET /apps", &token, &v2, Value::Null)
            .await
            .status,
        406
    );
    for token in ["", "wrong", "paas_0000000000000000000000000000000000000000"] {
        let got = world.send("GET /apps", token, &[], Value::Null).await;
        assert_eq!(got.status, 401, "{token}");
        assert_eq!(got.json()["message"], "Invalid credentials provided.");
    }
    let range = [("range", "version ..; max=1, order=desc")];
    let page = world
        .send("GET /apps/hello/releases", &token, &range, Value::Null)
        .await;
    assert_eq!(page.status, 206);
    assert_eq!(page.header("next-range"), "version ]2..; max=1, order=desc");
    assert_eq!(page.header("content-range"), "version 2..2");
    let next = [("range", page.header("next-range"))];
    let page = world
        .send("GET /apps/hello/releases", &token, &next, Value::Null)
        .await;
    assert_eq!((page.status.as_u16(), page.header("next-range")), (200, ""));
    assert_eq!(page.json()[0]["version"], 1);
    let bad = [("range", "version ..; max=0")];
    assert_eq!(
        world
            .send("GET /apps/hello/releases", &token, &bad, Value::Null)
            .await
            .status,
        416
    );
    let empty = [("range", ""), ("content-type", "application/json")];
    assert_eq!(
        world
            .send("GET /apps", &token, &empty, Value::Null)
            .await
            .status,
        200
    );
    world.end().await;
}

#[tokio::test]
async fn what_a_token_may() {
    let world = World::new().await;
    world.call("POST /apps", json!({"name": "hello"})).await;
    let other = world.token_of("you@example.org", Scope::Global).await;
    let got = world
        .send("GET /apps/hello", &other, &[], Value::Null)
        .await;
    assert_eq!(got.status, 404);
    let apps = world.send("GET /apps", &other, &[], Value::Null).await;
    assert_eq!(apps.json(), json!([]));

    let reader = world.token_of("me@example.org", Scope::Read).await;
    for (line, status) in [
        ("GET /apps/hello", 200),
        ("GET /apps/hello/config-vars", 403),
        ("DELETE /apps/hello", 403),
        ("POST /oauth/authorizations", 403),
        ("DELETE /oauth/authorizations/~", 200),
        ("GET /apps/hello", 401),
    ] {
        let got = world.send(line, &reader, &[], Value::Null).await;
        assert_eq!(got.status.as_u16(), status, "{line}: {got:?}");
    }
    world.end().await;
}

#[tokio::test]
async fn tokens_are_made_listed_and_revoked() {
    let world = World::new().await;
    let wish = json!({"description": "ci", "expires_in": 60});
    let made = world.call("POST /oauth/authorizations", wish).await;
    assert_eq!(made.status, 201);
    let made = made.json();
    let text = made["access_token"]["token"].as_str().unwrap();
    let get = async || {
        world
            .send("GET /account", text, &[], Value::Null)
            .await
            .status
    };
    assert_eq!(get().await, 200);
    let listed = world.get("/oauth/authorizations").await.json();
    let token = |one: &Value| one["access_token"]["token"].as_str().unwrap().to_owned();
    let shown: Vec<_> = listed.as_array().unwrap().iter().map(token).collect();
    assert!(
        shown.contains(&world.token),
        "one's own is whole: {shown:?}"
    );
    let short = shown.iter().find(|one| one.contains("**********")).unwrap();
    let (start, end) = short.split_once("**********").unwrap();
    assert!(text.starts_with(start) && text.ends_with(end));
    let revoke = format!(
        "DELETE /oauth/authorizations/{}",
        made["id"].as_str().unwrap()
    );
    assert_eq!(world.call(&revoke, Value::Null).await.status, 200);
    assert_eq!(get().await, 401);
    world.end().await;
}

#[tokio::test]
async fn config_vars_without_a_slug_make_a_release_at_once() {
    let world = World::new().await;
    world.call("POST /apps", json!({"name": "hello"})).await;
    let set = world
        .call(
            "PATCH /apps/hello/config-vars",
            json!({"A": "1", "B": "x\ny"}),
        )
        .await;
    assert_eq!(
        (set.status.as_u16(), set.json()),
        (200, json!({"A": "1", "B": "x\ny"}))
    );
    let release = world.get("/apps/hello/releases/3").await.json();
    assert_eq!(release["description"], "Set A, B config vars");
    assert_eq!(
        (&release["status"], &release["current"]),
        (&json!("succeeded"), &json!(true))
    );
    world
        .call("PATCH /apps/hello/config-vars", json!({"A": "1"}))
        .await;
    assert_eq!(
        world.get("/apps/hello/releases/4").await.status,
        404,
        "equal values"
    );
    world
        .call("PATCH /apps/hello/config-vars", json!({"A": null}))
        .await;
    assert_eq!(
        world.get("/apps/hello/config-vars").await.json(),
        json!({"B": "x\ny"})
    );
    let old = world
        .get("/apps/hello/releases/v3/config-vars")
        .await
        .json();
    assert_eq!(old, json!({"A": "1", "B": "x\ny"}));

    // Nothing of it is readable on the disk, and it is there after a start.
    let store = std::fs::read(world.folder.join("store/store.db")).unwrap();
    let wal = std::fs::read(world.folder.join("store/store.db-wal")).unwrap_or_default();
    let is_readable = |bytes: &[u8]| bytes.windows(3).any(|part| part == b"x\\n");
    assert!(!is_readable(&store) && !is_readable(&wal));
    let world = world.restarted().await;
    assert_eq!(
        world.get("/apps/hello/config-vars").await.json(),
        json!({"B": "x\ny"})
    );
    world.end().await;
}

#[tokio::test]
async fn logs() {
    let world = World::new().await;
    world.call("POST /apps", json!({"name": "hello"})).await;
    world
        .call("PATCH /apps/hello/config-vars", json!({"A": "1"}))
        .await;
    let session = world
        .call("POST /apps/hello/log-sessions", json!({"lines": 2}))
        .await;
    assert_eq!(session.status, 201, "{session:?}");
    let url = session.json()["logplex_url"].as_str().unwrap().to_owned();
    let path = url.strip_prefix("http://api.paas.localhost").unwrap();
    let plain = world
        .send(&format!("GET {path}"), "", &[], Value::Null)
        .await;
    let lines: Vec<_> = plain.text.lines().map(|line| line.split_at(33).1).collect();
    assert_eq!(
        lines,
        [
            "app[api]: Set A config vars by user me@example.org",
            "app[api]: Release v3 created by user me@example.org"
        ]
    );
    let accept = [("accept", "text/event-stream")];
    let events = world
        .send(&format!("GET {path}"), "", &accept, Value::Null)
        .await;
    assert_eq!(events.header("content-type"), "text/event-stream");
    assert_eq!(events.text.matches("data: ").count(), 2);
    let id = events
        .text
        .lines()
        .find_map(|line| line.strip_prefix("id: "))
        .unwrap();
    let back = [("accept", "text/event-stream"), ("last-event-id", id)];
    let events = world
        .send(&format!("GET {path}"), "", &back, Value::Null)
        .await;
    assert_eq!(events.text, "", "nothing twice");
    let forged = format!("GET {}", path.replace("/logs/", "/logs/x"));
    assert_eq!(world.send(&forged, "", &[], Value::Null).await.status, 404);
    world.end().await;
}

#[tokio::test]
async fn buildpacks_and_choices() {
    let world = World::new().await;
    world.call("POST /apps", json!({"name": "hello"})).await;
    let put = world
        .call(
            "PUT /apps/hello/buildpack-installations",
            json!({"updates": [{"buildpack": "heroku/python"}, {"buildpack": "https://x/y.git#main"}]}),
        )
        .await;
    assert_eq!(
        put.json()[0]["buildpack"]["url"],
        "urn:buildpack:heroku/python"
    );
    assert_eq!(
        world
            .get("/apps/hello/buildpack-installations")
            .await
            .json(),
        put.json()
    );
    assert_eq!(world.get("/buildpacks/heroku%2Fnone").await.status, 404);
    let folder = world.folder.join("buildpacks/python/bin");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("compile"), "").unwrap();
    let known = world
        .send("GET /buildpacks/heroku%2Fpython", "", &[], Value::Null)
        .await;
    assert_eq!(
        known.json()["blob_url"],
        "https://buildpack-registry.s3.amazonaws.com/buildpacks/heroku/python.tgz"
    );
    assert_eq!(world.get("/stacks").await.json()[0]["name"], "debian-13");
    assert_eq!(world.get("/dyno-sizes").await.json()[2]["memory"], 0.5);
    let status = world.send("GET /paas/status", "", &[], Value::Null).await;
    assert_eq!(status.json()["healthy"], false);
    world.end().await;
}
