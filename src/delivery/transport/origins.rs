//! Which origins are known. Those that clients named are bounded: the one that was not used for longest makes room.

use std::{
    cmp::Ordering,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use http::{Uri, uri::Scheme};

use super::{Caller, Error, Peer, Standing, origin::Origin};

/// Origins of push services of browsers with connections. There are about ten such services, one of which has many
/// hosts.
pub(super) const SUBSCRIPTION_ORIGINS_MAX: usize = 128;

const HTTPS_PORT: u16 = 443;

/// All origins, in order.
#[derive(Default)]
pub(super) struct Origins {
    each: RwLock<Vec<Arc<Origin>>>,
    uses: AtomicU64,
}

impl Origins {
    /// The origin of a URL, known or made.
    pub(super) fn find(
        &self,
        peer: Peer,
        uri: &Uri,
        caller: Option<&Caller>,
        make: impl FnOnce(String) -> Result<Arc<Origin>, Error>,
    ) -> Result<Arc<Origin>, Error> {
        let authority = authority(uri)?;
        let compare = |origin: &Arc<Origin>| order(origin, peer, caller, authority);
        let used = self.uses.fetch_add(1, Relaxed);
        {
            let each = self.each.read().unwrap_or_else(PoisonError::into_inner);
            if let Ok(at) = each.binary_search_by(compare) {
                each[at].used.store(used, Relaxed);
                return Ok(Arc::clone(&each[at]));
            }
        }
        let mut each = self.each.write().unwrap_or_else(PoisonError::into_inner);
        let at = match each.binary_search_by(compare) {
            Ok(at) => return Ok(Arc::clone(&each[at])),
            Err(at) => at,
        };
        let origin = make(authority.to_owned())?;
        origin.used.store(used, Relaxed);
        each.insert(at, Arc::clone(&origin));
        make_room(&mut each, peer);
        Ok(origin)
    }

    /// How the connections stand, for each kind of peer that was called.
    pub(super) fn standings(&self) -> Vec<Standing> {
        let mut standings: Vec<Standing> = Vec::new();
        for origin in self.each.read().unwrap_or_else(PoisonError::into_inner).iter() {
            if standings.last().is_none_or(|last| last.peer != origin.peer) {
                standings.push(Standing {
                    peer: origin.peer,
                    origins: 0,
                    connections: 0,
                    streams_in_use: 0,
                    streams_announced: 0,
                    waiting: 0,
                });
            }
            if let Some(standing) = standings.last_mut() {
                origin.add_to(standing);
            }
        }
        standings
    }
}

/// The host, and the port if it is not the usual one.
fn authority(uri: &Uri) -> Result<&str, Error> {
    let refused = |why: &str| Err(Error::Connect(why.to_owned()));
    if uri.scheme() != Some(&Scheme::HTTPS) {
        return refused("only https is called");
    }
    let Some(authority) = uri.authority() else { return refused("there is no host") };
    Ok(match authority.port_u16() {
        Some(HTTPS_PORT) => authority.host(),
        Some(_) | None => authority.as_str(),
    })
}

fn order(origin: &Origin, peer: Peer, caller: Option<&Caller>, authority: &str) -> Ordering {
    let known = origin.caller.as_ref().map(Caller::rank);
    origin.peer.cmp(&peer).then_with(|| known.cmp(&caller.map(Caller::rank))).then_with(|| {
        // Hosts are the same in either case.
        let lower = |byte: u8| byte.to_ascii_lowercase();
        origin.authority.bytes().map(lower).cmp(authority.bytes().map(lower))
    })
}

/// Lets the least recently used origin go if clients have named too many. What is under way on it goes on.
fn make_room(each: &mut Vec<Arc<Origin>>, peer: Peer) {
    if peer != Peer::Subscription {
        return;
    }
    let named = each.iter().enumerate().filter(|(_, origin)| origin.peer == Peer::Subscription);
    if named.clone().count() > SUBSCRIPTION_ORIGINS_MAX
        && let Some((at, _)) = named.min_by_key(|(_, origin)| origin.used.load(Relaxed))
    {
        each.remove(at);
    }
}
