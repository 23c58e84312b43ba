//! What the targets check, from where the tests have it. Modules that are nobody else's business are compiled in here as
//! they stand, instead of being made public for this.

#![allow(dead_code, reason = "of what is compiled in, only the reading is used")]

#[path = "../../tests/corpus/checks/mod.rs"]
mod checks;

#[path = "../../src/mqtt"]
mod mqtt {
    mod address;
    pub(crate) mod any_bytes;
    mod config;
    mod frame;
    mod topic;
    mod wire;
}

#[path = "../../src/store/embedded"]
mod embedded {
    pub(crate) mod any_bytes;
    mod codec;
}

use parvis::{config, ingest, report, store};

pub use targets::*;

mod targets {
    use super::{checks, embedded, mqtt};

    /// What phones, servers, gateways and scanner hosts send.
    pub fn reports(bytes: &[u8]) {
        checks::reports::check(bytes);
    }

    /// What people write in files and put through the API.
    pub fn documents(bytes: &[u8]) {
        checks::documents::check(bytes);
    }

    /// Requests to a whole node.
    pub fn api(bytes: &[u8]) {
        checks::api::check(bytes);
    }

    /// What push services answer.
    pub fn providers(bytes: &[u8]) {
        checks::providers::check(bytes);
    }

    /// What a broker sends.
    pub fn packets(bytes: &[u8]) {
        mqtt::any_bytes::check(bytes);
    }

    /// What stands in the file of the embedded store.
    pub fn rows(bytes: &[u8]) {
        embedded::any_bytes::check(bytes);
    }
}
