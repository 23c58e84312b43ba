//! The link to real servers: what it carries, what it tells when they fail, and what they promise about a crash.

mod link;
#[allow(dead_code, reason = "other test binaries include it and need more of it")]
mod server;
