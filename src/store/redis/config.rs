//! What an operator may set about Redis. Says what can't work; connects to nothing.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use parvis_engine::{
    problem::{Problem, Requirements},
    time::duration,
};
use serde::{Deserialize, Serialize};

use super::address::Address;
use crate::config::readable;

/// The section `[store.redis]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where: `redis://host[:6379]`, or `rediss://` with TLS. One server; or sentinels; or some nodes of a cluster, of
    /// which any one is enough to find the others.
    pub urls: Vec<String>,
    /// What is at `urls`.
    pub topology: Topology,
    /// Sentinel: the name under which the sentinels watch the master.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub master: Option<String>,
    /// Which database of the server. A cluster has only 0.
    pub database: u32,
    /// What all keys begin with, so that several installations can share a server.
    pub prefix: String,
    /// Who this is, if not the default user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// The file that holds the password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// Sentinel: who this is for the sentinels, which have users of their own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sentinel_username: Option<String>,
    /// Sentinel: the file that holds the password for the sentinels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sentinel_password_file: Option<PathBuf>,
    /// PEM file with the authorities that the servers' certificates may come from, in place of the system's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// PEM file with the certificate that is shown to the servers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<PathBuf>,
    /// PEM file with the key of `certificate`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
    /// Connections to each master, at least 1.
    pub connections: usize,
    /// The longest wait for a connection, TLS and greeting included.
    #[serde(with = "duration")]
    pub connect_timeout: Duration,
    /// The longest wait for the answers to what was sent together; then the connection is given up.
    #[serde(with = "duration")]
    pub response_timeout: Duration,
    /// The first wait before connecting again; it doubles with each failure, half of it by chance.
    #[serde(with = "duration")]
    pub backoff_min: Duration,
    /// The longest wait before connecting again.
    #[serde(with = "duration")]
    pub backoff_max: Duration,
    /// What the servers must promise, or the node does not start.
    pub durability: Demand,
    /// So many replicas must have a write before it counts as done.
    pub replicas_min: u32,
    /// The longest wait for them.
    #[serde(with = "duration")]
    pub replicas_wait: Duration,
}

/// What is at the configured addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Topology {
    /// One server.
    #[default]
    Single,
    /// Sentinels, who know which server is master.
    Sentinel,
    /// Nodes of a Redis Cluster.
    Cluster,
}

/// What the servers must promise about a crash.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Demand {
    /// Nothing; what a crash can lose is told at the start.
    #[default]
    Any,
    /// That every write is on disk before it is answered.
    Fsync,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            urls: vec!["redis://127.0.0.1:6379".to_owned()],
            topology: Topology::Single,
            master: None,
            database: 0,
            prefix: "parvis:".to_owned(),
            username: None,
            password_file: None,
            sentinel_username: None,
            sentinel_password_file: None,
            ca: None,
            certificate: None,
            key: None,
            connections: 4,
            connect_timeout: Duration::from_secs(2),
            response_timeout: Duration::from_secs(3),
            backoff_min: Duration::from_millis(50),
            backoff_max: Duration::from_secs(2),
            durability: Demand::Any,
            replicas_min: 0,
            replicas_wait: Duration::from_millis(500),
        }
    }
}

/// A cluster has a thousand masters at most, by Redis' own advice; more connections to one are no faster.
const CONNECTIONS_MAX: usize = 64;
/// Every key begins with it, so it costs memory by the million.
const PREFIX_BYTES_MAX: usize = 64;

impl Config {
    /// The same, with file names that start from this folder.
    #[must_use]
    pub fn below(&self, folder: &Path) -> Config {
        let mut config = self.clone();
        for file in config.files_mut().into_iter().flatten() {
            *file = folder.join(&*file);
        }
        config
    }

    /// What can't work, apart from files.
    pub fn values(&self) -> Vec<Problem> {
        let mut must = Requirements::default();
        self.check_addresses(&mut must);
        self.check_identity(&mut must);
        let sound = self.prefix.len() <= PREFIX_BYTES_MAX && !self.prefix.contains(['{', '}']);
        must.require(sound, "/prefix", "must have at most 64 bytes and no braces, which decide where keys live");
        must.require((1..=CONNECTIONS_MAX).contains(&self.connections), "/connections", "must be from 1 to 64");
        for (path, span) in [
            ("/connect_timeout", self.connect_timeout),
            ("/response_timeout", self.response_timeout),
            ("/backoff_min", self.backoff_min),
        ] {
            must.require(!span.is_zero(), path, "must be longer than 0s");
        }
        must.require(self.backoff_max >= self.backoff_min, "/backoff_max", "must not be shorter than backoff_min");
        let waits = self.replicas_min > 0;
        let milliseconds = self.replicas_wait.as_millis() > 0;
        must.require(!waits || milliseconds, "/replicas_wait", "must be at least 1ms: Redis takes 0 for ever");
        let in_time = self.replicas_wait < self.response_timeout;
        must.require(!waits || in_time, "/replicas_wait", "must be shorter than response_timeout");
        must.into_problems()
    }

    /// Which of the named files can't be read.
    pub fn unreadable(&self, folder: &Path) -> Vec<Problem> {
        let mut problems = Vec::new();
        for (path, file) in [
            ("/password_file", &self.password_file),
            ("/sentinel_password_file", &self.sentinel_password_file),
            ("/ca", &self.ca),
            ("/certificate", &self.certificate),
            ("/key", &self.key),
        ] {
            if let Some(Err(why)) = file.as_ref().map(|file| readable(folder, file)) {
                problems.push(Problem::new(path, why));
            }
        }
        problems
    }

    /// Whether TLS is spoken.
    pub(super) fn secure(&self) -> bool {
        self.addresses().iter().any(|(secure, _)| *secure)
    }

    /// The sound ones among the configured addresses, and whether TLS is spoken there.
    pub(super) fn addresses(&self) -> Vec<(bool, Address)> {
        self.urls.iter().filter_map(|url| Address::from_url(url).ok()).collect()
    }

    fn check_addresses(&self, must: &mut Requirements) {
        must.require(!self.urls.is_empty(), "/urls", "is empty: there is no server to ask");
        for (index, url) in self.urls.iter().enumerate() {
            if let Err(why) = Address::from_url(url) {
                must.require(false, &format!("/urls/{index}"), why);
            }
        }
        let addresses = self.addresses();
        let mixed = addresses.iter().any(|(secure, _)| *secure) && addresses.iter().any(|(secure, _)| !*secure);
        must.require(!mixed, "/urls", "must all begin with redis:// or all with rediss://");
        let single = self.topology == Topology::Single;
        let message = "has more than one; several addresses are sentinels or nodes of a cluster: set topology";
        must.require(!single || self.urls.len() <= 1, "/urls", message);
        let sentinel = self.topology == Topology::Sentinel;
        let named = self.master.as_ref().is_some_and(|name| !name.is_empty());
        must.require(!sentinel || named, "/master", "is missing: sentinels watch a master under a name");
        let message = "needs topology = \"sentinel\"";
        must.require(sentinel || self.master.is_none(), "/master", message);
        must.require(sentinel || self.sentinel_username.is_none(), "/sentinel_username", message);
        must.require(sentinel || self.sentinel_password_file.is_none(), "/sentinel_password_file", message);
        let clustered = self.topology == Topology::Cluster;
        must.require(!clustered || self.database == 0, "/database", "must be 0: a cluster has no other");
    }

    fn check_identity(&self, must: &mut Requirements) {
        for (path, name, password) in [
            ("/password_file", &self.username, &self.password_file),
            ("/sentinel_password_file", &self.sentinel_username, &self.sentinel_password_file),
        ] {
            must.require(name.is_none() || password.is_some(), path, "is missing: a user needs a password");
        }
        let secure = self.secure();
        for (path, file) in [("/ca", &self.ca), ("/certificate", &self.certificate), ("/key", &self.key)] {
            must.require(secure || file.is_none(), path, "needs TLS: urls that begin with rediss://");
        }
        must.require(self.certificate.is_some() == self.key.is_some(), "/key", "certificate and key go together");
    }

    fn files_mut(&mut self) -> [Option<&mut PathBuf>; 5] {
        [
            self.password_file.as_mut(),
            self.sentinel_password_file.as_mut(),
            self.ca.as_mut(),
            self.certificate.as_mut(),
            self.key.as_mut(),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> Vec<String> {
        let config: Config = toml::from_str(text).expect("the keys are known");
        config.values().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn an_address_is_enough() {
        for text in [
            "",
            "urls = [\"redis://10.0.0.1\"]",
            "urls = [\"rediss://cache.example:7000\"]\nca = \"ca.pem\"\ncertificate = \"c\"\nkey = \"k\"",
            "urls = [\"redis://a\", \"redis://b:26379\"]\ntopology = \"sentinel\"\nmaster = \"parvis\"",
            "urls = [\"redis://a\", \"redis://[::1]:7001\"]\ntopology = \"cluster\"\nreplicas_min = 1",
            "password_file = \"secret\"",
        ] {
            assert_eq!(problems(text), [""; 0], "{text}");
        }
    }

    #[test]
    fn each_mistake_is_named() {
        for (text, path) in [
            ("urls = []", "/urls:"),
            ("urls = [\"http://a\"]", "/urls/0:"),
            ("urls = [\"redis://a/1\"]", "/urls/0:"),
            ("urls = [\"redis://a\", \"redis://b\"]", "/urls:"),
            ("urls = [\"redis://a\", \"rediss://b\"]\ntopology = \"cluster\"", "/urls:"),
            ("topology = \"sentinel\"", "/master:"),
            ("master = \"parvis\"", "/master:"),
            ("sentinel_password_file = \"s\"", "/sentinel_password_file:"),
            ("topology = \"cluster\"\ndatabase = 1", "/database:"),
            ("username = \"parvis\"", "/password_file:"),
            ("ca = \"ca.pem\"", "/ca:"),
            ("urls = [\"rediss://a\"]\ncertificate = \"c\"", "/key:"),
            ("prefix = \"{shop}\"", "/prefix:"),
            ("connections = 0", "/connections:"),
            ("connect_timeout = \"0s\"", "/connect_timeout:"),
            ("response_timeout = \"0s\"", "/response_timeout:"),
            ("backoff_max = \"1ms\"", "/backoff_max:"),
            ("replicas_min = 1\nreplicas_wait = \"3s\"", "/replicas_wait:"),
            ("replicas_min = 1\nreplicas_wait = \"0s\"", "/replicas_wait:"),
        ] {
            let found = problems(text);
            assert!(found.len() == 1 && found[0].starts_with(path), "{text}: {found:?}");
        }
    }

    #[test]
    fn a_password_in_an_address_is_refused_and_not_repeated() {
        let found = problems("urls = [\"redis://parvis:hunter2@10.0.0.1:6379\"]");
        assert!(found.len() == 1 && found[0].contains("password_file"), "{found:?}");
        assert!(!found[0].contains("hunter2"), "{found:?}");
    }

    #[test]
    fn files_start_from_the_folder_and_are_looked_at() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let config = Config { password_file: Some("secret".into()), ..Config::default() };
        assert!(config.unreadable(folder.path())[0].to_string().starts_with("/password_file: "));
        std::fs::write(folder.path().join("secret"), "hunter2\n").expect("writable");
        assert_eq!(config.unreadable(folder.path()), []);
        assert_eq!(config.below(folder.path()).password_file, Some(folder.path().join("secret")));
    }
}
