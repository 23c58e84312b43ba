//! The way to Redis: one server, a master that sentinels watch, or a cluster. Carries calls; knows nothing of shoppers.
//!
//! A call is sent again only where the server says that it was not done: it does not know the script, or the slot lives
//! elsewhere. What was on its way when a connection broke may have been done, so its caller is told and decides. The
//! library's own cluster client sends such calls again, and can't promise that the question how many replicas have a
//! write (`WAIT`) goes over the connection that wrote; therefore routing stands here.

use std::{collections::BTreeMap, sync::Arc};

use futures_util::future::join_all;
use redis::{Cmd, Pipeline, Value};

use super::{
    address::Address,
    call::Call,
    cluster::Cluster,
    config::{Config, Topology},
    node::{Node, Replies},
    opener::{self, Opener},
    refusal::{self, Refusal},
};
use crate::store::Error;

/// A call is sent at most so often: its script may be unknown, and its slot may be on its way from one node to another.
const ROUNDS_MAX: usize = 5;

/// The way to Redis.
#[derive(Debug)]
pub struct Link {
    config: Config,
    way: Way,
}

#[derive(Debug)]
enum Way {
    One(Arc<Node>),
    Cluster(Box<Cluster>),
}

impl Link {
    /// Reads the files that the configuration names and connects once.
    ///
    /// # Errors
    /// If a file can't be read or nobody answers.
    pub async fn open(config: &Config) -> Result<Link, Error> {
        let opener = Arc::new(Opener::read(config)?);
        let way = match config.topology {
            Topology::Cluster => Way::Cluster(Box::new(Cluster::open(opener, config).await.map_err(unavailable)?)),
            Topology::Single | Topology::Sentinel => {
                let target = opener::targets(config).into_iter().next();
                let target = target.ok_or_else(|| unavailable("no address is configured".to_owned()))?;
                Way::One(Arc::new(Node::new(opener, target, config)))
            }
        };
        let link = Link { config: config.clone(), way };
        link.ask_masters(&[redis::cmd("PING")]).await?;
        Ok(link)
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Sends calls all at once and gives their answers in the same order: one round trip where nothing stands in the way.
    /// They are not a transaction, each stands for itself, and their order at the servers is not promised. Dropping the
    /// future takes nothing back.
    ///
    /// Every refusal and failure of the network is [`Error::Unavailable`]; after a failure the call may have been done.
    pub async fn send(&self, calls: &[Call]) -> Vec<Result<Value, Error>> {
        if let Way::Cluster(cluster) = &self.way {
            cluster.look().await;
        }
        let mut answers: Vec<Option<Result<Value, Error>>> = calls.iter().map(|_| None).collect();
        let mut waiting: Vec<Letter> = (0..calls.len()).map(Letter::new).collect();
        for _ in 0..ROUNDS_MAX {
            let groups = self.sort(calls, std::mem::take(&mut waiting), &mut answers);
            if groups.is_empty() {
                break;
            }
            let exchanges = groups.into_values().map(|(node, letters)| self.exchange(node, letters, calls));
            for (letter, outcome) in join_all(exchanges).await.into_iter().flatten() {
                match outcome {
                    Outcome::Answered(answer) => answers[letter.call] = Some(answer),
                    Outcome::Again => waiting.push(letter),
                }
            }
        }
        let lost = || Err(unavailable("a call was sent from node to node; its slot is on the move".to_owned()));
        answers.into_iter().map(|answer| answer.unwrap_or_else(lost)).collect()
    }

    /// Asks every master the same, and gives its address and its answers in the same order.
    ///
    /// # Errors
    /// If one of them does not answer.
    pub async fn ask_masters(&self, commands: &[Cmd]) -> Result<Vec<(Address, Vec<Result<Value, Error>>)>, Error> {
        let nodes = match &self.way {
            Way::One(node) => vec![node.clone()],
            Way::Cluster(cluster) => {
                cluster.look().await;
                cluster.masters().iter().map(|address| cluster.node(address)).collect()
            }
        };
        let mut pipeline = redis::pipe();
        for command in commands {
            pipeline.add_command(command.clone());
        }
        let mut told = Vec::new();
        for replies in join_all(nodes.iter().map(|node| node.exchange(&pipeline))).await {
            let Replies { values, address } = replies.map_err(|why| {
                self.doubt(None);
                unavailable(why)
            })?;
            let answers = values.into_iter().map(|value| {
                let Value::ServerError(error) = value else { return Ok(value) };
                match refusal::read(&error, &address) {
                    Refusal::Told { error, .. } => Err(error),
                    Refusal::Unknown | Refusal::Moved(_) | Refusal::Asked(_) => Err(unavailable(error.to_string())),
                }
            });
            let answers = answers.collect();
            told.push((address, answers));
        }
        Ok(told)
    }

    /// Puts together what goes to the same node. A call whose slot nobody has is answered at once.
    fn sort(
        &self,
        calls: &[Call],
        letters: Vec<Letter>,
        answers: &mut [Option<Result<Value, Error>>],
    ) -> BTreeMap<Option<Address>, (Arc<Node>, Vec<Letter>)> {
        let mut groups = BTreeMap::new();
        for letter in letters {
            let (place, node) = match &self.way {
                Way::One(node) => (None, node.clone()),
                Way::Cluster(cluster) => {
                    let slot = calls[letter.call].slot;
                    let Some(place) = letter.to.clone().or_else(|| cluster.master(slot)) else {
                        cluster.doubt();
                        let why = format!("no master of the cluster has slot {slot}");
                        answers[letter.call] = Some(Err(unavailable(why)));
                        continue;
                    };
                    let node = cluster.node(&place);
                    (Some(place), node)
                }
            };
            groups.entry(place).or_insert_with(|| (node, Vec::new())).1.push(letter);
        }
        groups
    }

    async fn exchange(&self, node: Arc<Node>, letters: Vec<Letter>, calls: &[Call]) -> Vec<(Letter, Outcome)> {
        let pipeline = self.compose(&letters, calls);
        let Replies { values, address } = match node.exchange(&pipeline).await {
            Ok(replies) => replies,
            Err(why) => {
                self.doubt(None);
                let error = unavailable(why);
                return letters.into_iter().map(|it| (it, Outcome::Answered(Err(error.clone())))).collect();
            }
        };
        let mut values = values.into_iter();
        let mut outcomes = Vec::with_capacity(letters.len());
        for mut letter in letters {
            if letter.asking {
                values.next();
            }
            let outcome = match values.next() {
                Some(Value::ServerError(error)) => self.refused(&mut letter, refusal::read(&error, &address), &node),
                Some(value) => Outcome::Answered(Ok(value)),
                None => Outcome::Answered(Err(unavailable(format!("{address} left out an answer")))),
            };
            outcomes.push((letter, outcome));
        }
        if let Some(acknowledged) = values.next()
            && let Some(error) = self.too_few(&acknowledged, &address)
        {
            for (letter, outcome) in &mut outcomes {
                if calls[letter.call].durable && matches!(outcome, Outcome::Answered(Ok(_))) {
                    *outcome = Outcome::Answered(Err(error.clone()));
                }
            }
        }
        outcomes
    }

    /// What is sent together. The replicas are asked about once, at the end: their acknowledgement covers everything that
    /// this connection has written.
    fn compose(&self, letters: &[Letter], calls: &[Call]) -> Pipeline {
        let mut pipeline = redis::pipe();
        let mut told = Vec::new();
        for letter in letters {
            if letter.asking {
                pipeline.cmd("ASKING");
            }
            let call = &calls[letter.call];
            match call.script.filter(|script| letter.in_full && !told.contains(&script.sha1())) {
                // Who has read the text once knows the script by its name from then on.
                Some(script) => {
                    told.push(script.sha1());
                    pipeline.add_command(call.with_source(script))
                }
                None => pipeline.add_command(call.command.clone()),
            };
        }
        if self.config.replicas_min > 0 && letters.iter().any(|letter| calls[letter.call].durable) {
            let wait_ms = u64::try_from(self.config.replicas_wait.as_millis()).unwrap_or(u64::MAX);
            pipeline.cmd("WAIT").arg(self.config.replicas_min).arg(wait_ms);
        }
        pipeline
    }

    fn refused(&self, letter: &mut Letter, refusal: Refusal, node: &Node) -> Outcome {
        letter.asking = false;
        match refusal {
            Refusal::Unknown if !letter.in_full => letter.in_full = true,
            Refusal::Unknown => {
                return Outcome::Answered(Err(unavailable("a script was forgotten as soon as it was told".to_owned())));
            }
            Refusal::Moved(to) => {
                self.doubt(None);
                letter.to = Some(to);
            }
            Refusal::Asked(to) => (letter.to, letter.asking) = (Some(to), true),
            Refusal::Told { error, stale } => {
                if stale {
                    self.doubt(Some(node));
                }
                return Outcome::Answered(Err(error));
            }
        }
        Outcome::Again
    }

    /// Somebody else may be master by now; and if a node says so itself, it need not be asked again.
    fn doubt(&self, node: Option<&Node>) {
        match (&self.way, node) {
            (Way::Cluster(cluster), _) => cluster.doubt(),
            (Way::One(_), Some(node)) => node.renew(),
            (Way::One(_), None) => {}
        }
    }

    fn too_few(&self, acknowledged: &Value, address: &Address) -> Option<Error> {
        let wanted = self.config.replicas_min;
        let Value::Int(count) = acknowledged else {
            return Some(unavailable(format!("{address} does not tell which replicas have a write: {acknowledged:?}")));
        };
        let why = format!("{count} of {wanted} replicas of {address} had a write in time; it may still count");
        (*count < i64::from(wanted)).then(|| unavailable(why))
    }
}

/// A call on its way.
#[derive(Debug)]
struct Letter {
    /// Which of the calls.
    call: usize,
    /// A node told that it belongs there.
    to: Option<Address>,
    /// The node does not have the slot yet, and takes the call only if it is asked to.
    asking: bool,
    /// The server does not know the script by its name.
    in_full: bool,
}

impl Letter {
    fn new(call: usize) -> Letter {
        Letter { call, to: None, asking: false, in_full: false }
    }
}

enum Outcome {
    Answered(Result<Value, Error>),
    /// It was not done and goes out once more.
    Again,
}

fn unavailable(why: String) -> Error {
    Error::Unavailable(format!("Redis: {why}"))
}
