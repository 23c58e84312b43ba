//! Manages an app's broadcast channels, with the credentials, connections and deadline of its messages. It must not
//! know what is asked, nor try anything twice: whoever asks is there to ask again.

use bytes::Bytes;
use http::Request;
use parvis_engine::{
    id::AppId,
    notification::{Address, Channel},
    retry::Outcome,
    time::Timestamp,
};

use super::{
    super::{
        Blame, Reply,
        apns::channels::{self, Channels, Place},
    },
    Attempted, Couriers, Exchange, unavailable,
};

/// Why nothing came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unmanaged {
    /// There is no such app.
    UnknownApp(AppId),
    /// The app does not use Apple's service.
    NoApns(AppId),
    /// It was refused, or there was no answer.
    Failed(channels::Error),
}

impl From<Attempted> for Unmanaged {
    fn from(Attempted { outcome, .. }: Attempted) -> Unmanaged {
        Unmanaged::Failed(match outcome {
            Outcome::Throttled { retry_after, reason } | Outcome::Unavailable { retry_after, reason } => {
                channels::Error::Unavailable { retry_after, reason, blame: Blame::Provider }
            }
            Outcome::Rejected { reason } | Outcome::Unregistered { reason, .. } => channels::Error::Refused(reason),
            Outcome::Accepted => channels::Error::Unreadable,
        })
    }
}

impl Couriers {
    /// Asks Apple about an app's broadcast channels: `ask` makes the request from the bearer, `read` reads the reply.
    ///
    /// # Errors
    /// If there is no such app, if it has no APNs, or why nothing came of the request. Apple may have acted on a
    /// request that was not answered.
    pub async fn manage<T>(
        &self,
        app: &AppId,
        place: &Place,
        ask: impl Fn(&Channels, &str) -> Result<Request<Bytes>, channels::Error>,
        read: impl Fn(&Reply, Timestamp) -> Result<T, channels::Error>,
    ) -> Result<T, Unmanaged> {
        let set = self.current.load_full();
        if !set.apps.contains_key(app) {
            return Err(Unmanaged::UnknownApp(app.clone()));
        }
        let courier = set.courier(app.as_str(), Channel::Apns);
        let Some((courier, channels)) = courier.and_then(|courier| Some((courier, courier.provider.channels()?)))
        else {
            return Err(Unmanaged::NoApns(app.clone()));
        };
        let request = |bearer: &str| ask(channels, bearer).map_err(Unmanaged::Failed);
        // No token is made for what cannot be asked.
        request("")?;
        let Place { bundle, environment } = place.clone();
        let address = Address::ApnsChannel { bundle, channel: String::new(), environment, stored: false };
        let exchange = Exchange { courier, address: &address, transport: &*set.transport };
        match tokio::time::timeout(set.deadline, exchange.reply(request)).await {
            Ok(reply) => read(&reply?, self.tools.clock.now()).map_err(Unmanaged::Failed),
            Err(_) => Err(Attempted::failed(unavailable("deadline")).into()),
        }
    }
}
