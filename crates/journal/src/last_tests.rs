//! Tests of `last`.
