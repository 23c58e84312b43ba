//! One request to a provider and its reply, whatever is asked: a place among those in flight, a credential, and once
//! more with a new one if the provider says that the old one had served its time. It must not judge the reply.

use bytes::Bytes;
use http::Request;
use parvis_engine::{notification::Address, retry::Outcome};

use super::{
    super::{
        Reply,
        breaker::Answer,
        transport::{Error, Transport},
    },
    Attempted, Courier, unavailable,
};

/// A request that is under way.
pub(super) struct Exchange<'a> {
    pub(super) courier: &'a Courier,
    /// Whose credential it needs.
    pub(super) address: &'a Address,
    pub(super) transport: &'a dyn Transport,
}

impl Exchange<'_> {
    /// The provider's reply to a request, which is made from the bearer.
    pub(super) async fn reply<E: From<Attempted>>(
        &self,
        request: impl Fn(&str) -> Result<Request<Bytes>, E>,
    ) -> Result<Reply, E> {
        let Courier { provider, credentials, permits, .. } = self.courier;
        let _permit = permits.acquire().await.map_err(|_| Attempted::failed(unavailable("closing")))?;
        let bearer = credentials.current(self.address).await.map_err(|outcome| match outcome {
            // The target may not be called, which the provider has no part in.
            Outcome::Rejected { .. } => Attempted { outcome, answer: Answer::Says },
            Outcome::Accepted
            | Outcome::Unregistered { .. }
            | Outcome::Throttled { .. }
            | Outcome::Unavailable { .. } => Attempted::failed(outcome),
        })?;
        let reply = self.send(request(&bearer)?).await?;
        if !provider.wants_new_credential(&reply) {
            return Ok(reply);
        }
        match credentials.replace(self.address, &bearer).await {
            Some(bearer) => Ok(self.send(request(&bearer)?).await?),
            None => Ok(reply),
        }
    }

    async fn send(&self, mut request: Request<Bytes>) -> Result<Reply, Attempted> {
        let Courier { provider, credentials, peer, .. } = self.courier;
        if let Some(party) = credentials.party(self.address) {
            party.present(&mut request);
        }
        self.transport.send(request, *peer).await.map_err(|error| {
            tracing::debug!(channel = provider.channel().name(), %error, "no answer");
            match error {
                // Neither time nor an operator makes a private address a push service.
                Error::NotAllowed => {
                    Attempted { outcome: Outcome::Rejected { reason: error.name().to_owned() }, answer: Answer::Says }
                }
                Error::Timeout | Error::Connect(_) | Error::Closed(_) | Error::GoAway { .. } => {
                    Attempted::failed(unavailable(&error.reason()))
                }
            }
        })
    }
}
