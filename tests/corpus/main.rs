//! Bytes that once reached somewhere in a parser, or broke it: what fuzzing kept, put through the same checks again by
//! every run of the tests.

mod checks;
mod replay;

use checks::{api, documents, providers, reports};

#[test]
fn what_is_reported() {
    replay::corpus("reports", 30, reports::check);
}

#[test]
fn what_people_write() {
    replay::corpus("documents", 40, documents::check);
}

#[test]
fn what_callers_ask() {
    replay::corpus("api", 11, api::check);
}

#[test]
fn what_push_services_answer() {
    replay::corpus("providers", 20, providers::check);
}
