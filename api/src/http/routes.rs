//! All endpoints.

use super::failure::Failure;
use super::{
    account, apps, authorizations, buildpacks, builds, collaborators, config_vars, domains, dynos,
    formation, images, inspect, log_sessions, outputs, releases, slugs, sources, stacks, status,
    unbuilt,
};
use crate::platform::Platform;
use axum::Router;
use axum::routing::{MethodRouter, delete, get, post};
use std::sync::Arc;

type Route = MethodRouter<Arc<Platform>>;

/// The whole API.
pub(super) fn all(platform: Arc<Platform>) -> Router {
    let families = [
        of_accounts(),
        of_apps(),
        of_dynos(),
        of_releases(),
        of_choices(),
        of_unbuilt(),
    ];
    families
        .into_iter()
        .flatten()
        .fold(Router::new(), |router, (path, route)| {
            router.route(path, route)
        })
        .fallback(|| async { Failure::no_such_route() })
        .method_not_allowed_fallback(|| async { Failure::no_such_route() })
        .with_state(platform)
}

fn of_accounts() -> Vec<(&'static str, Route)> {
    vec![
        ("/account", get(account::info)),
        ("/account/rate-limits", get(account::rate_limits)),
        ("/users/{user}", get(account::user)),
        ("/users/{user}/apps", get(apps::of_user)),
        (
            "/oauth/authorizations",
            get(authorizations::list).post(authorizations::create),
        ),
        (
            "/oauth/authorizations/{id}",
            get(authorizations::info).delete(authorizations::revoke),
        ),
        ("/oauth/sessions/{id}", delete(authorizations::no_session)),
        ("/paas/status", get(status::status)),
        ("/paas/authority", get(status::authority)),
    ]
}

fn of_apps() -> Vec<(&'static str, Route)> {
    vec![
        ("/apps", get(apps::list).post(apps::create)),
        (
            "/apps/{app}",
            get(apps::info).patch(apps::update).delete(apps::destroy),
        ),
        ("/filters/apps", post(apps::filter)),
        (
            "/apps/{app}/config-vars",
            get(config_vars::list).patch(config_vars::update),
        ),
        (
            "/apps/{app}/domains",
            get(domains::list).post(domains::create),
        ),
        (
            "/apps/{app}/domains/{host}",
            get(domains::info)
                .patch(domains::update)
                .delete(domains::remove),
        ),
        ("/apps/{app}/collaborators", get(collaborators::list)),
        ("/apps/{app}/collaborators/{who}", get(collaborators::info)),
        (
            "/apps/{app}/buildpack-installations",
            get(buildpacks::list).put(buildpacks::replace),
        ),
        ("/apps/{app}/log-sessions", post(log_sessions::create)),
        (
            "/streams/logs/{claims}/{signature}",
            get(log_sessions::read),
        ),
    ]
}

fn of_dynos() -> Vec<(&'static str, Route)> {
    vec![
        (
            "/apps/{app}/formation",
            get(formation::list).patch(formation::update),
        ),
        (
            "/apps/{app}/formation/{type}",
            get(formation::info).patch(formation::update_one),
        ),
        (
            "/apps/{app}/dynos",
            get(dynos::list)
                .post(dynos::create)
                .delete(dynos::restart_all),
        ),
        (
            "/apps/{app}/dynos/{dyno}",
            get(dynos::info).delete(dynos::restart_one),
        ),
        (
            "/apps/{app}/dynos/{dyno}/actions/stop",
            post(dynos::restart_one),
        ),
        ("/apps/{app}/formations/{type}", delete(dynos::restart_type)),
        (
            "/apps/{app}/formations/{type}/actions/stop",
            post(dynos::stop_type),
        ),
        ("/paas/apps/{app}/dynos/{dyno}/port", get(inspect::port)),
        ("/paas/apps/{app}/dynos/{dyno}/start", get(inspect::start)),
    ]
}

fn of_releases() -> Vec<(&'static str, Route)> {
    vec![
        (
            "/apps/{app}/releases",
            get(releases::list).post(releases::create),
        ),
        ("/apps/{app}/releases/{release}", get(releases::info)),
        (
            "/apps/{app}/releases/{release}/config-vars",
            get(config_vars::of_release),
        ),
        ("/apps/{app}/slugs/{slug}", get(slugs::info)),
        ("/apps/{app}/builds", get(builds::list).post(builds::create)),
        (
            "/apps/{app}/builds/{build}",
            get(builds::info).delete(builds::cancel),
        ),
        ("/paas/apps/{app}/image", get(images::export)),
        ("/paas/apps/{app}/images", post(builds::import)),
        ("/sources", post(sources::create)),
        ("/apps/{app}/sources", post(sources::create_for_app)),
        (
            "/streams/sources/{act}/{id}/{until}/{signature}",
            get(sources::download).put(sources::upload),
        ),
        (
            "/streams/releases/{app}/{number}/{signature}",
            get(outputs::release),
        ),
        (
            "/streams/builds/{app}/{build}/{signature}",
            get(outputs::build),
        ),
    ]
}

fn of_choices() -> Vec<(&'static str, Route)> {
    vec![
        ("/stacks", get(stacks::list)),
        ("/stacks/{stack}", get(stacks::info)),
        ("/apps/{app}/available-stacks", get(stacks::of_app)),
        ("/regions", get(stacks::regions)),
        ("/regions/{region}", get(stacks::region_info)),
        ("/dyno-sizes", get(stacks::sizes)),
        (
            "/apps/{app}/available-dyno-sizes",
            get(stacks::sizes_of_app),
        ),
        ("/buildpacks/{name}", get(buildpacks::registry)),
    ]
}

fn of_unbuilt() -> Vec<(&'static str, Route)> {
    let mut routes: Vec<(&'static str, Route)> = vec![
        (
            "/account/features/{name}",
            get(unbuilt::no_feature).patch(unbuilt::no_feature),
        ),
        (
            "/apps/{app}/features/{name}",
            get(unbuilt::no_feature_of_app).patch(unbuilt::no_feature_of_app),
        ),
        ("/apps/{app}/pipeline-couplings", get(unbuilt::no_coupling)),
        ("/actions/addons/resolve", post(unbuilt::no_addon)),
        (
            "/actions/addon-attachments/resolve",
            post(unbuilt::no_attachment),
        ),
        (
            "/apps/{app}/addons",
            get(unbuilt::nothing_of_app).post(unbuilt::no_addon_service),
        ),
    ];
    for path in [
        "/account/features",
        "/account/keys",
        "/addons",
        "/addon-attachments",
        "/addons/{addon}/addon-attachments",
        "/addon-services",
        "/plans",
        "/teams",
        "/enterprise-accounts",
        "/spaces",
        "/pipelines",
        "/oauth/sessions",
        "/oauth/clients",
    ] {
        routes.push((path, get(unbuilt::nothing)));
    }
    for path in [
        "/apps/{app}/addon-attachments",
        "/apps/{app}/features",
        "/apps/{app}/log-drains",
        "/apps/{app}/sni-endpoints",
        "/apps/{app}/webhooks",
    ] {
        routes.push((path, get(unbuilt::nothing_of_app)));
    }
    routes
}
