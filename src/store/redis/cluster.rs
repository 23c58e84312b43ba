//! Which master of a cluster has which slots. Asks when there is reason to doubt it, and not more often than needed.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use futures_util::future::select_ok;
use parvis_engine::time::Timestamp;
use redis::Value;

use super::{
    address::Address,
    config::Config,
    node::Node,
    opener::{Opener, Target},
};
use crate::clock::Clock;

/// So many nodes are asked at once where the slots are; the first answer counts.
const ASKED_AT_ONCE: usize = 3;

/// The nodes of a cluster, as far as they are known.
#[derive(Debug)]
pub(super) struct Cluster {
    opener: Arc<Opener>,
    config: Config,
    seeds: Vec<Address>,
    map: ArcSwap<Map>,
    nodes: Mutex<BTreeMap<Address, Arc<Node>>>,
    in_doubt: AtomicBool,
    turn: AtomicUsize,
    looked: tokio::sync::Mutex<Option<Timestamp>>,
}

/// Ranges of slots with their masters, in order.
#[derive(Debug, Default, PartialEq)]
struct Map(Vec<(u16, u16, Address)>);

impl Cluster {
    /// Learns where the slots are.
    ///
    /// # Errors
    /// If no node tells.
    pub(super) async fn open(opener: Arc<Opener>, config: &Config) -> Result<Cluster, String> {
        let cluster = Cluster {
            opener,
            config: config.clone(),
            seeds: config.addresses().into_iter().map(|(_, address)| address).collect(),
            map: ArcSwap::default(),
            nodes: Mutex::default(),
            in_doubt: AtomicBool::new(true),
            turn: AtomicUsize::new(0),
            looked: tokio::sync::Mutex::default(),
        };
        cluster.learn().await?;
        cluster.in_doubt.store(false, Ordering::Relaxed);
        Ok(cluster)
    }

    /// The master of a slot.
    pub(super) fn master(&self, slot: u16) -> Option<Address> {
        let map = self.map.load();
        let next = map.0.partition_point(|(first, _, _)| *first <= slot);
        let (_, last, address) = map.0.get(next.checked_sub(1)?)?;
        (slot <= *last).then(|| address.clone())
    }

    /// All masters that have slots.
    pub(super) fn masters(&self) -> BTreeSet<Address> {
        self.map.load().0.iter().map(|(_, _, address)| address.clone()).collect()
    }

    /// The connections to a node.
    pub(super) fn node(&self, address: &Address) -> Arc<Node> {
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        let make = || Arc::new(Node::new(self.opener.clone(), Target::Server(address.clone()), &self.config));
        nodes.entry(address.clone()).or_insert_with(make).clone()
    }

    /// Somebody else may have slots by now.
    pub(super) fn doubt(&self) {
        self.in_doubt.store(true, Ordering::Relaxed);
    }

    /// Learns anew where the slots are, if that is in doubt and nobody is at it or has just been.
    pub(super) async fn look(&self) {
        if !self.in_doubt.load(Ordering::Relaxed) {
            return;
        }
        let Ok(mut looked) = self.looked.try_lock() else { return };
        let now = Clock::System.now();
        let recently = |at: Timestamp| now >= at && now.since(at) < self.rest();
        if looked.is_some_and(recently) {
            return;
        }
        self.in_doubt.store(false, Ordering::Relaxed);
        if let Err(why) = self.learn().await {
            self.doubt();
            tracing::debug!("no node of the Redis cluster tells where the slots are: {why}");
        }
        *looked = Some(Clock::System.now());
    }

    fn rest(&self) -> Duration {
        self.config.backoff_min
    }

    async fn learn(&self) -> Result<(), String> {
        let mut candidates: Vec<Address> = self.masters().into_iter().collect();
        if !candidates.is_empty() {
            let turn = self.turn.fetch_add(1, Ordering::Relaxed) % candidates.len();
            candidates.rotate_left(turn);
        }
        candidates.extend(self.seeds.iter().cloned());
        let mut why = "there is no node to ask".to_owned();
        for some in candidates.chunks(ASKED_AT_ONCE) {
            match select_ok(some.iter().map(|address| Box::pin(self.ask(address)))).await {
                Ok((map, _)) => {
                    self.replace(map);
                    return Ok(());
                }
                Err(error) => why = error,
            }
        }
        Err(why)
    }

    async fn ask(&self, address: &Address) -> Result<Map, String> {
        let mut question = redis::pipe();
        question.cmd("CLUSTER").arg("SLOTS");
        let replies = self.node(address).exchange(&question).await?;
        match replies.values.into_iter().next() {
            Some(Value::ServerError(error)) => Err(format!("{address} refuses CLUSTER SLOTS: {error}")),
            Some(Value::Array(ranges)) => {
                let map = Map::read(&ranges, address);
                if map.0.is_empty() { Err(format!("{address} knows no master of any slot")) } else { Ok(map) }
            }
            Some(_) | None => Err(format!("{address} answers CLUSTER SLOTS with something else")),
        }
    }

    fn replace(&self, map: Map) {
        self.map.store(Arc::new(map));
        let masters = self.masters();
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        nodes.retain(|address, _| masters.contains(address) || self.seeds.contains(address));
    }
}

impl Map {
    /// Reads the answer to `CLUSTER SLOTS` of the node at this address; what can't be read is left out.
    fn read(ranges: &[Value], from: &Address) -> Map {
        let mut map: Vec<(u16, u16, Address)> = ranges.iter().filter_map(|range| read_range(range, from)).collect();
        map.sort();
        Map(map)
    }
}

fn read_range(range: &Value, from: &Address) -> Option<(u16, u16, Address)> {
    let Value::Array(parts) = range else { return None };
    let [Value::Int(first), Value::Int(last), Value::Array(master), ..] = parts.as_slice() else { return None };
    let [host, Value::Int(port), ..] = master.as_slice() else { return None };
    // A node that does not know its own name leaves it out, or writes a question mark.
    let host = redis::from_redis_value_ref::<Option<String>>(host).ok()?.filter(|host| !host.is_empty() && host != "?");
    let address = Address { host: host.unwrap_or_else(|| from.host.clone()), port: u16::try_from(*port).ok()? };
    Some((u16::try_from(*first).ok()?, u16::try_from(*last).ok()?, address))
}

#[cfg(test)]
mod tests {
    use redis::parse_redis_value;

    use super::*;

    #[test]
    fn the_map_is_read_and_asked() {
        let told = b"*2\r\n*3\r\n:5461\r\n:16383\r\n*3\r\n$8\r\n10.0.0.2\r\n:7001\r\n$1\r\nb\r\n\
            *4\r\n:0\r\n:5459\r\n*3\r\n$0\r\n\r\n:7000\r\n$1\r\na\r\n*3\r\n$8\r\n10.0.0.3\r\n:7002\r\n$1\r\nc\r\n";
        let Ok(Value::Array(ranges)) = parse_redis_value(told) else { panic!("an array") };
        let from = Address { host: "10.0.0.1".to_owned(), port: 7_000 };
        let second = Address { host: "10.0.0.2".to_owned(), port: 7_001 };
        let map = Map::read(&ranges, &from);
        assert_eq!(map, Map(vec![(0, 5_459, from.clone()), (5_461, 16_383, second.clone())]));
        assert_eq!(Map::read(&[Value::Nil, Value::Array(vec![Value::Int(1)])], &from), Map::default());
    }
}
