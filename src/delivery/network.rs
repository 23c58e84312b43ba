//! The connections to push services as the configuration wants them: kept over a reload unless their settings changed.

use std::{path::Path, sync::Arc, time::Duration};

use parvis_engine::problem::Problem;

use super::{Config, read, transport::Http};

/// Connections and what they were made from.
#[derive(Clone)]
pub struct Network {
    settings: Settings,
    http: Arc<Http>,
}

#[derive(Clone, PartialEq, Eq)]
struct Settings {
    extra_ca: Option<Vec<u8>>,
    request_timeout: Duration,
    connect_timeout: Duration,
    connections_max: usize,
    allow_private: bool,
}

impl Network {
    /// The network that a configuration wants: the one before, if there is one and its settings are the same. Relative
    /// paths are below `base`.
    ///
    /// # Errors
    /// Everything that is wrong, with paths below the delivery section.
    pub fn open(config: &Config, base: &Path, before: Option<Network>) -> Result<Network, Vec<Problem>> {
        let settings = Settings::read(config, base)?;
        match before.filter(|before| before.settings == settings) {
            Some(before) => Ok(before),
            None => Ok(Network { settings, http: Arc::new(Http::new(config, base)?) }),
        }
    }

    /// The connections.
    pub fn http(&self) -> Arc<Http> {
        Arc::clone(&self.http)
    }
}

impl Settings {
    fn read(config: &Config, base: &Path) -> Result<Settings, Vec<Problem>> {
        let mut problems = Vec::new();
        let extra_ca = config.extra_ca.as_ref().and_then(|file| read(base, file, "/extra_ca", &mut problems));
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(Settings {
            extra_ca,
            request_timeout: config.request_timeout,
            connect_timeout: config.connect_timeout,
            connections_max: config.connections_max,
            allow_private: config.allows_private(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_kept_unless_their_settings_change() {
        let folder = tempfile::tempdir().expect("a folder");
        let authority = || rcgen::generate_simple_self_signed(["ca".to_owned()]).expect("a certificate").cert.pem();
        std::fs::write(folder.path().join("ca.pem"), authority()).expect("writable");
        let config = Config { extra_ca: Some("ca.pem".into()), ..Config::default() };
        let open = |config: &Config, before: Option<Network>| {
            Network::open(config, folder.path(), before).unwrap_or_else(|problems| panic!("{problems:?}"))
        };
        let first = open(&config, None);
        let same = open(&Config { deadline: Duration::from_secs(40), ..config.clone() }, Some(first.clone()));
        assert!(Arc::ptr_eq(&first.http, &same.http));
        let slower = open(&Config { request_timeout: Duration::from_secs(11), ..config.clone() }, Some(first.clone()));
        assert!(!Arc::ptr_eq(&first.http, &slower.http));
        std::fs::write(folder.path().join("ca.pem"), authority()).expect("writable");
        assert!(!Arc::ptr_eq(&first.http, &open(&config, Some(first.clone())).http), "another authority");
        std::fs::remove_file(folder.path().join("ca.pem")).expect("removable");
        let problems = Network::open(&config, folder.path(), Some(first)).err().expect("a problem");
        assert_eq!(problems[0].path, "/extra_ca");
    }
}
