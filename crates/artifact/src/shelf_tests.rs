//! Tests of `shelf`.
