//! From a notification to a provider's answer.
//!
//! A [`Provider`] is pure: it turns a notification into a request and a reply into an [`Outcome`]. It never opens a
//! connection. The courier owns connections, deadlines and credentials.

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use parvis_engine::{
    notification::{Channel, Notification},
    retry::Outcome,
    shopper::PushTarget,
    time::Timestamp,
};

/// What a provider answered.
#[derive(Clone, Debug)]
pub struct Reply {
    /// HTTP status.
    pub status: StatusCode,
    /// Headers.
    pub headers: HeaderMap,
    /// The body, cut to a bound.
    pub body: Bytes,
}

/// Speaks one push service's language.
pub trait Provider: Send + Sync {
    /// Which service.
    fn channel(&self) -> Channel;

    /// The request that delivers a notification; `bearer` is the current credential where the service wants one.
    ///
    /// # Errors
    /// The outcome, if there can be no request: a malformed target, a payload that is too large.
    fn request(
        &self,
        notification: &Notification,
        target: &PushTarget,
        bearer: &str,
        now: Timestamp,
    ) -> Result<Request<Bytes>, Outcome>;

    /// What a reply means. Total: every reply is an outcome.
    fn outcome(&self, reply: &Reply, now: Timestamp) -> Outcome;
}
