//! Apps with their credentials, and the devices and browsers that they are installed on.

use std::{path::Path, sync::Arc};

use parvis_engine::shopper::{ApnsEnvironment, PushTarget, Subscription};

use super::{
    ApnsCertificate, ApnsKey, App, ConnectedBrowser, Credentials, Error, LiveActivity, Sandbox, app,
    shared::Shared,
    target::{self, Installed, NewTarget, TokenPurpose},
};

impl Sandbox {
    /// The key that APNs tokens are signed with.
    pub fn apns_key(&self) -> ApnsKey {
        self.shared.apps.first().apns_key.clone()
    }

    /// The APNs team that the keys belong to.
    pub fn apns_team_id(&self) -> &str {
        &self.shared.apps.first().apns_team_id
    }

    /// The service account's JSON document, as Google's console gives it.
    pub fn fcm_service_account(&self) -> String {
        self.shared.apps.first().service_account(&self.shared.endpoints.fcm_token)
    }

    /// The application server's key for Web Push, PKCS #8 PEM. Subscriptions are bound to it.
    pub fn vapid_key_pem(&self) -> &str {
        &self.shared.apps.first().vapid_key_pem
    }

    /// Makes another APNs key for the first app's team; an environment restricts it.
    ///
    /// # Errors
    /// If the key cannot be made.
    pub fn issue_apns_key(&self, environment: Option<ApnsEnvironment>) -> Result<ApnsKey, Error> {
        let key = ApnsKey::generate(&app::apple_id(&self.shared.entropy))?;
        self.shared.apns.add_key(&key, self.shared.apps.first(), environment);
        Ok(key)
    }

    /// Makes a certificate for a bundle id, with which a provider needs no tokens; an environment restricts it. The
    /// bundle id becomes the first app's unless it is another's.
    ///
    /// # Errors
    /// If the certificate cannot be made, or there are too many.
    pub fn issue_apns_certificate(
        &self,
        bundle: &str,
        environment: Option<ApnsEnvironment>,
    ) -> Result<ApnsCertificate, Error> {
        self.shared.issue_apns_certificate(bundle, environment)
    }

    /// Makes another app with its own APNs team, Firebase project and Web Push key. An RSA key is made on the way.
    ///
    /// # Errors
    /// If the name is taken or is not 1 to 20 lower-case letters, digits and hyphens, or a key cannot be made.
    pub async fn add_app(&self, name: &str) -> Result<Arc<App>, Error> {
        self.shared.add_app(name).await
    }

    /// The service account's JSON document of an app; none if there is no such app.
    pub fn fcm_service_account_of(&self, app: &str) -> Option<String> {
        self.shared.apps.named(app).map(|app| app.service_account(&self.shared.endpoints.fcm_token))
    }

    /// Writes the CA certificate, the first app's credentials for all three services and a fragment of configuration
    /// into `dir`, which is made if absent.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn write_credentials(&self, dir: &Path) -> Result<Credentials, Error> {
        self.shared.identity.write(self.shared.apps.first(), dir, &self.shared.endpoints)
    }

    /// The same for another app.
    ///
    /// # Errors
    /// If there is no such app, or a file cannot be written.
    pub fn write_credentials_of(&self, app: &str, dir: &Path) -> Result<Credentials, Error> {
        let app = self.shared.app(Some(app))?;
        self.shared.identity.write(&app, dir, &self.shared.endpoints)
    }

    /// Installs an app on a device, or subscribes a browser.
    ///
    /// # Errors
    /// If there is no such app.
    pub fn register(&self, new: NewTarget) -> Result<PushTarget, Error> {
        self.shared.register(new)
    }

    /// Installs an app on an Apple device; gives the device token. `topic` is the app's bundle id.
    pub fn register_apns(&self, topic: &str, environment: ApnsEnvironment) -> String {
        let (shared, purpose) = (&self.shared, TokenPurpose::Device);
        shared.targets.register_apns(&shared.entropy, shared.apps.first(), Installed { topic, environment, purpose })
    }

    /// Lets an app on an Apple device be told to start Live Activities; gives the push-to-start token.
    pub fn register_activity_start(&self, topic: &str, environment: ApnsEnvironment) -> String {
        let (shared, purpose) = (&self.shared, TokenPurpose::ActivityStart);
        shared.targets.register_apns(&shared.entropy, shared.apps.first(), Installed { topic, environment, purpose })
    }

    /// Installs an app on an Android device; gives the registration token.
    pub fn register_fcm(&self) -> String {
        self.shared.targets.register_fcm(&self.shared.entropy, self.shared.apps.first())
    }

    /// Installs an app on an Android device that uses installation ids; gives the id.
    pub fn register_fcm_installation(&self) -> String {
        self.shared.targets.register_fcm_installation(&self.shared.entropy, self.shared.apps.first())
    }

    /// Subscribes a browser, bound to the application server's key.
    pub fn register_webpush(&self) -> Subscription {
        let (shared, limit) = (&self.shared, target::BODY_BYTES_MAX);
        shared.targets.register_webpush(&shared.entropy, shared.apps.first(), &shared.endpoints.webpush, limit)
    }

    /// The Live Activities that were started, oldest first.
    pub fn activities(&self) -> Vec<LiveActivity> {
        self.shared.apns.activities.all()
    }

    /// The browsers that have connected, and what they say became of their messages.
    pub fn browsers(&self) -> Vec<ConnectedBrowser> {
        self.shared.browsers.all()
    }
}

impl Shared {
    pub(super) fn app(&self, name: Option<&str>) -> Result<Arc<App>, Error> {
        match name {
            None => Ok(Arc::clone(self.apps.first())),
            Some(name) => {
                let missing = || Error::App { detail: format!("app: there is no app {name}") };
                self.apps.named(name).ok_or_else(missing)
            }
        }
    }

    pub(super) async fn add_app(&self, name: &str) -> Result<Arc<App>, Error> {
        if let Some(detail) = self.apps.problem(name) {
            return Err(Error::App { detail });
        }
        let (name, entropy) = (name.to_owned(), self.entropy.clone());
        let made = tokio::task::spawn_blocking(move || App::another(&name, &entropy)).await;
        let app = made.map_err(|error| Error::Identity { what: "app", detail: error.to_string() })??;
        let app = self.apps.add(app).map_err(|detail| Error::App { detail })?;
        self.apns.add_key(&app.apns_key, &app, None);
        Ok(app)
    }

    pub(super) fn issue_apns_certificate(
        &self,
        bundle: &str,
        environment: Option<ApnsEnvironment>,
    ) -> Result<ApnsCertificate, Error> {
        self.targets.own_topic(bundle, self.apps.first());
        self.apns.certificates.issue(&self.identity, bundle, environment)
    }

    pub(super) fn register(&self, new: NewTarget) -> Result<PushTarget, Error> {
        let (targets, entropy) = (&self.targets, &self.entropy);
        if let Some(detail) = targets.problem() {
            return Err(Error::App { detail });
        }
        Ok(match new {
            NewTarget::Apns { app, topic, environment, purpose } => {
                let app = self.app(app.as_deref())?;
                let installed = Installed { topic: &topic, environment, purpose };
                let token = targets.register_apns(entropy, &app, installed);
                PushTarget::Apns { token: token.into(), topic: topic.into(), environment }
            }
            NewTarget::Fcm { app, fid: false } => {
                let token = targets.register_fcm(entropy, &self.app(app.as_deref())?);
                PushTarget::Fcm { token: Some(token.into()), fid: None }
            }
            NewTarget::Fcm { app, fid: true } => {
                let id = targets.register_fcm_installation(entropy, &self.app(app.as_deref())?);
                PushTarget::Fcm { token: None, fid: Some(id.into()) }
            }
            NewTarget::WebPush { app, body_bytes_max } => {
                let (app, limit) = (self.app(app.as_deref())?, body_bytes_max.unwrap_or(target::BODY_BYTES_MAX));
                let subscription = targets.register_webpush(entropy, &app, &self.endpoints.webpush, limit);
                PushTarget::WebPush { subscription: Box::new(subscription) }
            }
        })
    }
}
