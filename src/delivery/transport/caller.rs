//! Who the daemon is on a connection: some peers take one caller's requests on a connection and no other's.

use std::sync::Arc;

use bytes::Bytes;
use http::Request;

use super::Identity;

/// One key of a peer's customer. Apple takes tokens of one key on a connection and refuses others there
/// (`UnrelatedKeyIdInToken`), so requests of each travel on connections of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Party(Arc<str>);

impl Party {
    /// By a name that is the same whenever the key is.
    pub fn new(name: &str) -> Party {
        Party(name.into())
    }

    /// Has a request travel on this party's connections.
    pub fn present(&self, request: &mut Request<Bytes>) {
        request.extensions_mut().insert(self.clone());
    }
}

/// Whose connections.
#[derive(Clone, Debug)]
pub(super) enum Caller {
    /// Whoever shows this certificate.
    Identity(Arc<Identity>),
    /// Whoever sends this key's tokens.
    Party(Party),
}

impl Caller {
    /// The caller that a request names, which is taken from it.
    pub(super) fn take(request: &mut Request<Bytes>) -> Option<Caller> {
        let extensions = request.extensions_mut();
        let identity = extensions.remove::<Arc<Identity>>().map(Caller::Identity);
        let party = extensions.remove::<Party>().map(Caller::Party);
        identity.or(party)
    }

    pub(super) fn identity(&self) -> Option<&Identity> {
        match self {
            Caller::Identity(identity) => Some(identity),
            Caller::Party(_) => None,
        }
    }

    /// What callers are told apart by.
    pub(super) fn rank(&self) -> (bool, &[u8]) {
        match self {
            Caller::Identity(identity) => (true, identity.fingerprint()),
            Caller::Party(Party(name)) => (false, name.as_bytes()),
        }
    }

    /// Whether nobody else knows it any more: it has been replaced.
    pub(super) fn is_replaced(&self) -> bool {
        match self {
            Caller::Identity(identity) => Arc::strong_count(identity) == 1,
            Caller::Party(Party(name)) => Arc::strong_count(name) == 1,
        }
    }
}
