//! What an endpoint's reply means.

use http::StatusCode;
use parvis_engine::{retry::Outcome, time::Timestamp};

use crate::delivery::{Reply, reply::retry_after};

/// Any 2xx is a yes. A 410 says that nobody wants to be told any more. Everything else may be mended, at the endpoint or
/// on the way to it, and so is tried again.
pub(super) fn outcome(reply: &Reply, now: Timestamp) -> Outcome {
    let reason = format!("http_{}", reply.status.as_u16());
    let retry_after = retry_after(&reply.headers, now);
    match reply.status {
        status if status.is_success() => Outcome::Accepted,
        StatusCode::GONE => Outcome::Rejected { reason },
        StatusCode::TOO_MANY_REQUESTS => Outcome::Throttled { retry_after, reason },
        _ => Outcome::Unavailable { retry_after, reason },
    }
}
