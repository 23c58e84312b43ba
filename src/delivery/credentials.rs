//! Where a courier's credentials come from. How they are made is said elsewhere.

use std::sync::Arc;

use parvis_engine::{
    notification::Address,
    retry::Outcome,
    shopper::{ApnsEnvironment, PushTarget},
    time::Timestamp,
};

use super::{
    token::Shared,
    transport::{Identity, Party},
    webpush::vapid::Vapid,
};

/// Where a channel's credentials come from.
pub enum Credentials {
    /// One for the whole channel.
    Shared(Arc<Shared>),
    /// One for each of Apple's environments.
    Environments {
        /// For apps from the store.
        production: Arc<Shared>,
        /// For development builds.
        sandbox: Arc<Shared>,
    },
    /// No bearer: the provider has its requests carry a certificate.
    Certificate(Arc<Identity>),
    /// One for each push service.
    Vapid(Arc<Vapid>),
}

impl Credentials {
    pub(super) async fn current(&self, address: &Address) -> Result<Arc<str>, Outcome> {
        match self {
            Credentials::Shared(tokens) => tokens.get().await,
            Credentials::Environments { production, sandbox } => {
                of_environment(production, sandbox, address).get().await
            }
            Credentials::Certificate(_) => Ok("".into()),
            Credentials::Vapid(vapid) => vapid.token(address),
        }
    }

    pub(super) async fn replace(&self, address: &Address, refused: &str) -> Option<Arc<str>> {
        match self {
            Credentials::Shared(tokens) => tokens.replace(refused).await,
            Credentials::Environments { production, sandbox } => {
                of_environment(production, sandbox, address).replace(refused).await
            }
            Credentials::Certificate(_) | Credentials::Vapid(_) => None,
        }
    }

    /// Whose connections requests travel on, if the provider tells connections apart by tokens.
    pub(super) fn party(&self, address: &Address) -> Option<&Party> {
        match self {
            Credentials::Shared(tokens) => tokens.party(),
            Credentials::Environments { production, sandbox } => of_environment(production, sandbox, address).party(),
            Credentials::Certificate(_) | Credentials::Vapid(_) => None,
        }
    }

    /// When the token in use was made; of two the older one.
    pub(super) fn issued_at(&self) -> Option<Timestamp> {
        match self {
            Credentials::Shared(tokens) => tokens.issued_at(),
            Credentials::Environments { production, sandbox } => {
                production.issued_at().into_iter().chain(sandbox.issued_at()).min()
            }
            Credentials::Certificate(_) | Credentials::Vapid(_) => None,
        }
    }

    pub(super) fn not_after(&self) -> Option<Timestamp> {
        match self {
            Credentials::Certificate(identity) => Some(identity.not_after()),
            Credentials::Shared(_) | Credentials::Environments { .. } | Credentials::Vapid(_) => None,
        }
    }
}

fn of_environment<'a>(production: &'a Shared, sandbox: &'a Shared, address: &Address) -> &'a Shared {
    match address {
        Address::Target(PushTarget::Apns { environment, .. }) | Address::ApnsChannel { environment, .. } => {
            match environment {
                ApnsEnvironment::Production => production,
                ApnsEnvironment::Sandbox => sandbox,
            }
        }
        Address::Target(PushTarget::Fcm { .. } | PushTarget::WebPush { .. })
        | Address::FcmTopic { .. }
        | Address::FcmCondition { .. } => production,
    }
}
