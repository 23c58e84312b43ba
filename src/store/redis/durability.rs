//! What the servers promise about a crash, as they tell it themselves. Judges; changes nothing at the servers.

use std::{collections::BTreeMap, fmt, sync::Arc};

use arc_swap::ArcSwap;
use redis::Value;

use super::{
    address::Address,
    config::{Config, Demand, Topology},
    link::Link,
};
use crate::store::{Error, Loss};

/// Scripts with flags, on which the store relies, came with it.
const VERSION_MIN: (u32, u32) = (7, 0);

/// One master as it told of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Master {
    /// Where it is.
    pub address: Address,
    /// Its version, such as `7.0.15`.
    pub version: String,
    /// What a crash of its machine loses.
    pub loss: Loss,
    /// Replicas in step with it.
    pub replicas: u32,
    /// Its limit of memory, bytes; 0 if there is none.
    pub memory_max_bytes: u64,
    /// What it does when memory is full.
    pub memory_policy: String,
    role: String,
    mode: String,
}

/// What all masters together promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Each master.
    pub masters: Vec<Master>,
    /// So many replicas have a write before it counts as done.
    pub replicas_min: u32,
}

/// The newest verdict. Another server may have become master, or an operator may have changed a setting.
#[derive(Debug)]
pub(super) struct Promise(ArcSwap<Verdict>);

impl Promise {
    /// Asks what is promised, says it and refuses what is not enough.
    pub(super) async fn demand(link: &Link) -> Result<Promise, Error> {
        let verdict = Verdict::read(link).await?;
        verdict.check(link.config())?;
        tracing::info!("Redis: {verdict}");
        Ok(Promise(ArcSwap::from_pointee(verdict)))
    }

    /// Asks again, and says what is different. A node that runs goes on with less than it demanded at its start: ending
    /// would help nobody.
    pub(super) async fn look(&self, link: &Link) -> Result<(), Error> {
        let verdict = Verdict::read(link).await?;
        let told = verdict.to_string();
        let refused = verdict.check(link.config()).err();
        let before = self.0.swap(Arc::new(verdict));
        match refused {
            Some(error) if before.check(link.config()).is_ok() => {
                tracing::error!("Redis does not hold any more what is demanded: {error}");
            }
            Some(_) | None if told != before.to_string() => tracing::warn!("Redis has changed: {told}"),
            Some(_) | None => {}
        }
        Ok(())
    }

    /// What a crash of any one master's machine loses at worst.
    pub(super) fn loss(&self) -> Loss {
        self.0.load().loss()
    }
}

impl Verdict {
    /// Asks every master.
    ///
    /// # Errors
    /// If one does not answer, or may not be asked for INFO.
    pub async fn read(link: &Link) -> Result<Verdict, Error> {
        let mut questions = vec![redis::cmd("INFO")];
        for setting in ["appendfsync", "save"] {
            let mut question = redis::cmd("CONFIG");
            question.arg("GET").arg(setting);
            questions.push(question);
        }
        let mut masters = Vec::new();
        for (address, answers) in link.ask_masters(&questions).await? {
            let mut answers = answers.into_iter();
            let info = answers.next().unwrap_or(Ok(Value::Nil))?;
            let info: String = redis::from_redis_value(info)
                .map_err(|_| Error::Unavailable(format!("Redis at {address} answers INFO with something else")))?;
            let settings: Vec<Option<String>> = answers.map(|answer| answer.ok().and_then(setting)).collect();
            let fsync = settings.first().cloned().flatten();
            let save = settings.get(1).cloned().flatten();
            masters.push(Master::read(address, &info, fsync.as_deref(), save.as_deref()));
        }
        Ok(Verdict { masters, replicas_min: link.config().replicas_min })
    }

    /// What a crash of any one master's machine loses at worst.
    pub fn loss(&self) -> Loss {
        self.masters.iter().map(|master| master.loss).max().unwrap_or(Loss::Unknown)
    }

    /// The least number of replicas that a master has.
    pub fn replicas(&self) -> u32 {
        self.masters.iter().map(|master| master.replicas).min().unwrap_or(0)
    }

    /// Refuses what can't hold what the configuration demands.
    ///
    /// # Errors
    /// The server, its setting and what to do.
    pub fn check(&self, config: &Config) -> Result<(), Error> {
        let wrong = self.masters.iter().filter_map(|master| Some((master, master.problem(config)?))).next();
        wrong.map_or(Ok(()), |(master, why)| Err(Error::Unavailable(format!("Redis at {} {why}", master.address))))
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (masters, replicas) = (self.masters.len(), self.replicas());
        let noun = if masters == 1 { "a crash of the server's machine" } else { "a crash of a master's machine" };
        write!(f, "{noun} {}; ", sentence(self.loss()))?;
        match (replicas, self.replicas_min) {
            (0, _) => write!(f, "no replica takes over"),
            (_, 0) => write!(f, "a failover loses what the replica that takes over had not got yet"),
            (_, wanted) => {
                write!(f, "a failover loses nothing if one of the {wanted} that had each write takes over")
            }
        }
    }
}

impl Master {
    fn read(address: Address, info: &str, fsync: Option<&str>, save: Option<&str>) -> Master {
        let told: BTreeMap<&str, &str> = info.lines().filter_map(|line| line.split_once(':')).collect();
        let word = |name: &str| told.get(name).copied().unwrap_or_default().to_owned();
        let replicas = (0..).map_while(|n| told.get(format!("slave{n}").as_str()));
        let replicas = replicas.filter(|replica| replica.contains("state=online")).count();
        let loss = match (told.get("aof_enabled").copied(), fsync, save) {
            (Some("1"), Some("always"), _) => Loss::Nothing,
            (Some("1"), Some("everysec"), _) => Loss::Second,
            (Some("1"), Some("no"), _) => Loss::Buffered,
            (Some("0"), _, Some("")) => Loss::Everything,
            (Some("0"), _, Some(_)) => Loss::SinceSnapshot,
            (_, _, _) => Loss::Unknown,
        };
        Master {
            address,
            version: word("redis_version"),
            loss,
            replicas: u32::try_from(replicas).unwrap_or(u32::MAX),
            memory_max_bytes: word("maxmemory").parse().unwrap_or(0),
            memory_policy: word("maxmemory_policy"),
            role: word("role"),
            mode: word("redis_mode"),
        }
    }

    /// What of it does not do, if anything.
    fn problem(&self, config: &Config) -> Option<String> {
        let clustered = config.topology == Topology::Cluster;
        if self.mode == "sentinel" {
            return Some("is a sentinel: set store.redis.topology".to_owned());
        }
        if (self.mode == "cluster") != clustered {
            let is = if clustered { "is no node of a cluster" } else { "is a node of a cluster" };
            return Some(format!("{is}: set store.redis.topology"));
        }
        if self.role != "master" {
            return Some("is a replica: name its master in store.redis.urls".to_owned());
        }
        if !self.is_new_enough() {
            let (major, minor) = VERSION_MIN;
            return Some(format!("has version {:?}; {major}.{minor} or newer is needed", self.version));
        }
        if self.memory_max_bytes > 0 && self.memory_policy != "noeviction" {
            let policy = &self.memory_policy;
            return Some(format!(
                "throws data away when its memory is full: set maxmemory-policy noeviction, not {policy}"
            ));
        }
        if config.durability == Demand::Fsync && self.loss != Loss::Nothing {
            let why = sentence(self.loss);
            let advice = "store.redis.durability = \"fsync\" needs appendonly yes and appendfsync always";
            return Some(format!("{why} in a crash; {advice}"));
        }
        if self.replicas < config.replicas_min {
            let (have, wanted) = (self.replicas, config.replicas_min);
            return Some(format!("has {have} replicas in step; store.redis.replicas_min wants {wanted}"));
        }
        None
    }

    fn is_new_enough(&self) -> bool {
        let mut numbers = self.version.split('.').map(|number| number.parse::<u32>().unwrap_or(0));
        (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= VERSION_MIN
    }
}

fn sentence(loss: Loss) -> &'static str {
    match loss {
        Loss::Nothing => "loses nothing that was acknowledged",
        Loss::Second => "loses about the last second of acknowledged writes (appendfsync everysec)",
        Loss::Buffered => "loses acknowledged writes of up to half a minute (appendfsync no)",
        Loss::SinceSnapshot => "loses everything since the last snapshot (appendonly no)",
        Loss::Everything => "loses everything (appendonly no, and no snapshots)",
        Loss::Unknown => "loses nobody knows what, because CONFIG GET is not permitted",
    }
}

/// The value in the answer to `CONFIG GET`.
fn setting(answer: Value) -> Option<String> {
    let told: BTreeMap<String, String> = redis::from_redis_value(answer).ok()?;
    told.into_values().next()
}

#[cfg(test)]
mod tests {
    use super::*;

    const INFO: &str = "# Server\r\nredis_version:7.0.15\r\nredis_mode:standalone\r\n# Memory\r\nmaxmemory:0\r\n\
        maxmemory_policy:noeviction\r\naof_enabled:1\r\nrole:master\r\nconnected_slaves:2\r\n\
        slave0:ip=10.0.0.2,port=6379,state=online,offset=1,lag=0\r\n\
        slave1:ip=10.0.0.3,port=6379,state=wait_bgsave,offset=0,lag=0\r\n";

    fn master(info: &str, fsync: Option<&str>, save: Option<&str>) -> Master {
        Master::read(Address { host: "10.0.0.1".to_owned(), port: 6_379 }, info, fsync, save)
    }

    fn refusal(info: &str, config: &Config) -> String {
        let verdict = Verdict { masters: vec![master(info, Some("everysec"), Some(""))], replicas_min: 0 };
        match verdict.check(config) {
            Ok(()) => String::new(),
            Err(Error::Unavailable(why) | Error::Corrupt(why)) => why,
        }
    }

    #[test]
    fn what_a_crash_loses_is_read_from_the_settings() {
        let snapshots = INFO.replace("aof_enabled:1", "aof_enabled:0");
        for (info, fsync, save, loss) in [
            (INFO, Some("always"), None, Loss::Nothing),
            (INFO, Some("everysec"), Some(""), Loss::Second),
            (INFO, Some("no"), Some("3600 1"), Loss::Buffered),
            (INFO, None, None, Loss::Unknown),
            (&snapshots, None, Some("3600 1"), Loss::SinceSnapshot),
            (&snapshots, Some("always"), Some(""), Loss::Everything),
            (&snapshots, None, None, Loss::Unknown),
            ("", Some("always"), Some(""), Loss::Unknown),
        ] {
            assert_eq!(master(info, fsync, save).loss, loss, "{fsync:?} {save:?}");
        }
        assert_eq!(master(INFO, None, None).replicas, 1, "the other one is not in step yet");
    }

    #[test]
    fn the_worst_master_counts_and_is_told() {
        let mut verdict = Verdict {
            masters: vec![master(INFO, Some("always"), None), master(INFO, Some("everysec"), None)],
            replicas_min: 0,
        };
        assert_eq!(verdict.loss(), Loss::Second);
        assert!(verdict.to_string().contains("about the last second"), "{verdict}");
        assert!(verdict.to_string().contains("had not got yet"), "{verdict}");
        verdict.replicas_min = 1;
        assert!(verdict.to_string().contains("one of the 1"), "{verdict}");
        verdict.masters[0].replicas = 0;
        assert!(verdict.to_string().contains("no replica"), "{verdict}");
    }

    #[test]
    fn what_can_not_hold_is_refused() {
        let any = Config::default();
        assert_eq!(refusal(INFO, &any), "");
        let evicts = INFO.replace("noeviction", "allkeys-lru");
        assert_eq!(refusal(&evicts, &any), "", "without a limit nothing is thrown away");
        for (info, word) in [
            (INFO.replace("7.0.15", "6.2.14"), "7.0 or newer"),
            (evicts.replace("maxmemory:0", "maxmemory:1000000"), "maxmemory-policy noeviction"),
            (INFO.replace("role:master", "role:slave"), "is a replica"),
            (INFO.replace("standalone", "cluster"), "store.redis.topology"),
            (INFO.replace("standalone", "sentinel"), "store.redis.topology"),
        ] {
            assert!(refusal(&info, &any).contains(word), "{}", refusal(&info, &any));
        }
        let fsync = Config { durability: Demand::Fsync, ..Config::default() };
        assert!(refusal(INFO, &fsync).contains("appendfsync always"));
        let replicas = Config { replicas_min: 2, ..Config::default() };
        assert!(refusal(INFO, &replicas).contains("1 replicas in step"));
        let cluster = Config { topology: Topology::Cluster, ..Config::default() };
        assert!(refusal(INFO, &cluster).contains("no node of a cluster"));
    }
}
