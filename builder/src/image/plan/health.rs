//! HEALTHCHECK as the config of an image has it. Pure.

use crate::image::dockerfile::instruction;
use serde_json::{Map, Value};

/// As Docker's config has it.
pub(super) fn health(check: &instruction::HealthCheck) -> Value {
    let mut map = Map::new();
    map.insert("Test".to_owned(), check.test.clone().into());
    for (flag, name) in [
        ("interval", "Interval"),
        ("timeout", "Timeout"),
        ("start-period", "StartPeriod"),
        ("start-interval", "StartInterval"),
        ("retries", "Retries"),
    ] {
        if let Some(number) = check.numbers.get(flag).filter(|number| **number != 0) {
            map.insert(name.to_owned(), (*number).into());
        }
    }
    Value::Object(map)
}
