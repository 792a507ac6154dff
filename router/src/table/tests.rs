//! Diffing of what is told into the index, and the disk copy.

use super::*;

fn told(app: u8, hosts: &[&str], state: route::State) -> route::Route {
    route::Route {
        app: app::Id::parse(&format!("00000000-0000-4000-8000-0000000000{app:02}")).unwrap(),
        app_name: app::Name::parse(&format!("app-{app}")).unwrap(),
        hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
        state,
    }
}

fn app_at(table: &Table, host: &str) -> Option<String> {
    let route = table.lookup(host)?;
    Some(route.shape().app_name.to_string())
}

#[test]
fn a_wildcard_has_what_nobody_else_has() {
    let table = Table::default();
    let blank = route::State::Blank;
    let routes = [
        told(1, &["*.example.org"], blank.clone()),
        told(2, &["www.example.org"], blank),
    ];
    table.apply(routes.iter());
    for (host, app) in [
        ("www.example.org", Some("app-2")),
        ("a.example.org", Some("app-1")),
        ("a.b.example.org", None),
        ("example.org", None),
        ("org", None),
    ] {
        assert_eq!(app_at(&table, host).as_deref(), app, "{host}");
    }
}

#[test]
fn hosts_follow_what_is_told() {
    let table = Table::default();
    let blank = route::State::Blank;
    for (routes, a, b) in [
        (vec![told(1, &["a"], blank.clone())], Some("app-1"), None),
        (
            vec![told(1, &["a", "b"], blank.clone())],
            Some("app-1"),
            Some("app-1"),
        ),
        // A host moves from one app to another.
        (
            vec![
                told(1, &["a"], blank.clone()),
                told(2, &["b"], blank.clone()),
            ],
            Some("app-1"),
            Some("app-2"),
        ),
        (
            vec![
                told(1, &["b"], blank.clone()),
                told(2, &["a"], blank.clone()),
            ],
            Some("app-2"),
            Some("app-1"),
        ),
        (vec![told(2, &["a"], blank.clone())], Some("app-2"), None),
        (vec![], None, None),
    ] {
        assert!(table.apply(routes.iter()), "{routes:?}");
        assert!(
            !table.apply(routes.iter()),
            "the same again changes nothing"
        );
        assert_eq!(app_at(&table, "a").as_deref(), a, "{routes:?}");
        assert_eq!(app_at(&table, "b").as_deref(), b, "{routes:?}");
    }
}

#[test]
fn the_disk_copy_brings_the_table_back() {
    let folder = std::env::temp_dir().join(format!("router-table-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let path = folder.join("table.json");
    let table = Table::default();
    table.load(&path).unwrap();
    table.apply([told(1, &["a"], route::State::NoWeb)].iter());
    table.save(&path).unwrap();
    let other = Table::default();
    other.load(&path).unwrap();
    assert_eq!(app_at(&other, "a").as_deref(), Some("app-1"));
    fs::write(&path, "no table").unwrap();
    assert!(matches!(other.load(&path), Err(TableError::Format { .. })));
    fs::remove_dir_all(&folder).unwrap();
}
