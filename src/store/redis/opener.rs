//! Opens one connection: TCP, TLS, greeting, and with Sentinel the question who is master. Keeps nothing.

use std::{
    fs,
    path::{Path, PathBuf},
};

use futures_util::future::select_ok;
use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, ConnectionAddr, IntoConnectionInfo, ProtocolVersion,
    RedisConnectionInfo, TlsCertificates, Value, aio::MultiplexedConnection, io::tcp::TcpSettings,
};

use super::{
    address::Address,
    config::{Config, Topology},
};
use crate::store::Error;

/// Knows who this is and whom to trust.
#[derive(Debug)]
pub(super) struct Opener {
    database: u32,
    tls: Option<TlsCertificates>,
    servers: Identity,
    sentinels: Identity,
    options: AsyncConnectionConfig,
}

/// Where a connection leads.
#[derive(Clone, Debug)]
pub(super) enum Target {
    /// To this server.
    Server(Address),
    /// To the master that these sentinels watch under this name.
    Master {
        /// Any of them may be asked.
        sentinels: Vec<Address>,
        /// The master's name.
        name: String,
    },
}

/// A user and its password; not to be printed.
#[derive(Default)]
struct Identity {
    username: Option<String>,
    password: Option<String>,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").field("username", &self.username).finish_non_exhaustive()
    }
}

impl Opener {
    /// Reads the files that the configuration names.
    pub(super) fn read(config: &Config) -> Result<Opener, Error> {
        let secret = |file: &Option<PathBuf>| file.as_ref().map(|file| secret(file)).transpose();
        let tls = if config.secure() { Some(certificates(config)?) } else { None };
        let servers = Identity { username: config.username.clone(), password: secret(&config.password_file)? };
        let sentinels =
            Identity { username: config.sentinel_username.clone(), password: secret(&config.sentinel_password_file)? };
        let options = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(config.connect_timeout))
            .set_response_timeout(Some(config.response_timeout));
        let opener = Opener { database: config.database, tls, servers, sentinels, options };
        let unused = Address { host: "localhost".to_owned(), port: 1 };
        opener.client(&unused, &opener.servers, 0).map_err(|error| Error::Unavailable(format!("Redis: {error}")))?;
        Ok(opener)
    }

    /// A connection, and where it leads.
    ///
    /// # Errors
    /// A sentence without secrets.
    pub(super) async fn open(&self, target: &Target) -> Result<(MultiplexedConnection, Address), String> {
        match target {
            Target::Server(address) => {
                Ok((self.connect(address, &self.servers, self.database).await?, address.clone()))
            }
            Target::Master { sentinels, name } => {
                let master = self.master(sentinels, name).await?;
                let mut connection = self.connect(&master, &self.servers, self.database).await?;
                // Right after a failover sentinels may still name the old master.
                let role = redis::cmd("ROLE").query_async::<Value>(&mut connection).await;
                let role = role.map_err(|error| format!("{master} does not tell its role: {error}"))?;
                let first = role.as_sequence().and_then(<[Value]>::first).and_then(text);
                if first.as_deref() == Some("master") {
                    Ok((connection, master))
                } else {
                    Err(format!("the sentinels call {master} the master, but it is a replica"))
                }
            }
        }
    }

    /// Asks the sentinels who is master; the first answer counts, because some of them may be away.
    async fn master(&self, sentinels: &[Address], name: &str) -> Result<Address, String> {
        let asked = sentinels.iter().map(|sentinel| {
            Box::pin(async move {
                let told = self.ask(sentinel, name).await;
                told.map_err(|why| format!("sentinel {sentinel}: {why}"))
            })
        });
        select_ok(asked).await.map(|(master, _)| master)
    }

    async fn ask(&self, sentinel: &Address, name: &str) -> Result<Address, String> {
        let mut connection = self.connect(sentinel, &self.sentinels, 0).await?;
        let mut question = redis::cmd("SENTINEL");
        question.arg("GET-MASTER-ADDR-BY-NAME").arg(name);
        let answer = question.query_async::<Option<(String, u16)>>(&mut connection).await;
        match answer.map_err(|error| error.to_string())? {
            Some((host, port)) => Ok(Address { host, port }),
            None => Err(format!("it watches no master named {name:?}")),
        }
    }

    async fn connect(
        &self,
        address: &Address,
        identity: &Identity,
        database: u32,
    ) -> Result<MultiplexedConnection, String> {
        let told = |error: redis::RedisError| format!("no connection to {address}: {error}");
        let client = self.client(address, identity, database).map_err(told)?;
        client.get_multiplexed_async_connection_with_config(&self.options).await.map_err(told)
    }

    fn client(&self, address: &Address, identity: &Identity, database: u32) -> redis::RedisResult<Client> {
        let mut settings =
            RedisConnectionInfo::default().set_protocol(ProtocolVersion::RESP3).set_db(i64::from(database));
        if let Some(username) = &identity.username {
            settings = settings.set_username(username);
        }
        if let Some(password) = &identity.password {
            settings = settings.set_password(password);
        }
        let (host, port) = (address.host.clone(), address.port);
        let place = match &self.tls {
            None => ConnectionAddr::Tcp(host, port),
            Some(_) => ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None },
        };
        // The library leaves Nagle's algorithm on, which makes small calls wait for each other's acknowledgements.
        let info = place.into_connection_info()?.set_tcp_settings(TcpSettings::default().set_nodelay(true));
        let info = info.set_redis_settings(settings);
        match &self.tls {
            None => Client::open(info),
            Some(certificates) => Client::build_with_tls(info, certificates.clone()),
        }
    }
}

fn certificates(config: &Config) -> Result<TlsCertificates, Error> {
    let root_cert = config.ca.as_ref().map(|file| contents(file)).transpose()?;
    let client_tls = match (&config.certificate, &config.key) {
        (Some(certificate), Some(key)) => {
            Some(ClientTlsConfig { client_cert: contents(certificate)?, client_key: contents(key)? })
        }
        (Some(_) | None, _) => None,
    };
    Ok(TlsCertificates { client_tls, root_cert })
}

fn contents(file: &Path) -> Result<Vec<u8>, Error> {
    fs::read(file).map_err(|error| Error::Unavailable(format!("Redis: {} can't be read: {error}", file.display())))
}

/// A password as editors leave it, with or without an end of line.
fn secret(file: &Path) -> Result<String, Error> {
    let told = |_| Error::Unavailable(format!("Redis: {} holds no text", file.display()));
    let text = String::from_utf8(contents(file)?).map_err(told)?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

fn text(value: &Value) -> Option<String> {
    redis::from_redis_value_ref(value).ok()
}

pub(super) fn targets(config: &Config) -> Vec<Target> {
    let addresses = config.addresses().into_iter().map(|(_, address)| address);
    match config.topology {
        Topology::Single | Topology::Cluster => addresses.map(Target::Server).collect(),
        Topology::Sentinel => {
            vec![Target::Master { sentinels: addresses.collect(), name: config.master.clone().unwrap_or_default() }]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(urls: &str) -> Client {
        let config = Config { urls: vec![urls.to_owned()], ..Config::default() };
        let opener = Opener::read(&config).expect("no files are named");
        let (_, address) = config.addresses().remove(0);
        opener.client(&address, &opener.servers, 0).expect("a client")
    }

    #[test]
    fn small_calls_do_not_wait_for_each_other() {
        for url in ["redis://localhost", "rediss://localhost"] {
            let client = client(url);
            assert!(client.get_connection_info().tcp_settings().nodelay(), "{url}");
            assert_eq!(client.get_connection_info().redis_settings().protocol(), ProtocolVersion::RESP3);
        }
    }

    #[test]
    fn the_configured_timeouts_hold_and_not_those_of_the_library() {
        let opener = Opener::read(&Config::default()).expect("no files are named");
        let options = format!("{:?}", opener.options);
        assert!(options.contains("response_timeout: Some(3s), connection_timeout: Some(2s)"), "{options}");
    }

    #[test]
    fn secrets_are_not_printed() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("secret");
        std::fs::write(&file, "hunter2\r\n").expect("writable");
        let config = Config { password_file: Some(file), ..Config::default() };
        let opener = Opener::read(&config).expect("the file is there");
        assert_eq!(opener.servers.password.as_deref(), Some("hunter2"));
        assert!(!format!("{opener:?}").contains("hunter2"));
        let missing = Config { password_file: Some(folder.path().join("none")), ..Config::default() };
        assert!(Opener::read(&missing).is_err_and(|error| error.to_string().contains("none")));
    }
}
