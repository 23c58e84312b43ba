//! Requests a second from a decided message to the provider's answer: encoded, sent and judged as by a lane, but without
//! a store.

use std::{path::Path, sync::Arc};

use aws_lc_rs::agreement::{ECDH_P256, PrivateKey};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use parvis::{
    clock::Clock,
    delivery::{
        self, Config, Couriers, Tools,
        transport::{Http, Peer, Transport},
    },
    entropy::Entropy,
};
use parvis_engine::{
    notification::{Address, Channel, Notification},
    retry::Outcome,
    shopper::{ApnsEnvironment, PushTarget, Subscription, SubscriptionKeys},
};
use tokio::runtime::Runtime;

use crate::{
    Scale,
    load::rate,
    message::message,
    others::{General, Nowhere},
    sink::{Certificate, Sink},
};

pub(crate) fn apns(scale: &Scale) {
    let folder = tempfile::tempdir().expect("a folder");
    let certificate = Certificate::new(folder.path());
    let sinks = [Sink::start(&certificate)];
    println!("\n| APNs, 1 KB of message and headers | in flight | requests/s | processor time each | connections |");
    println!("|---|---:|---:|---:|---:|");
    for in_flight in scale.in_flight {
        let config = config(folder.path(), &certificate, &sinks, in_flight);
        let http = Arc::new(Http::new(&config, folder.path()).unwrap_or_else(|problems| panic!("{problems:?}")));
        let ways: [(&str, Arc<dyn Transport>); 3] = [
            ("this transport", Arc::clone(&http) as Arc<dyn Transport>),
            ("hyper-util's client", Arc::new(General::new(&certificate.file))),
            ("no network", Arc::new(Nowhere)),
        ];
        for (what, transport) in ways {
            let couriers = couriers(&config, folder.path(), transport);
            let target = |number: usize| {
                Address::Target(PushTarget::Apns {
                    token: format!("{number:064x}").into(),
                    topic: "com.example.shop".into(),
                    environment: ApnsEnvironment::Production,
                })
            };
            let measured = measure(scale, (in_flight, Channel::Apns), &sinks, couriers, target);
            let connections: usize =
                http.connections().iter().filter(|it| it.peer == Peer::Apns).map(|it| it.connections).sum();
            let connections = if what == "this transport" { connections.to_string() } else { String::new() };
            println!("| {what} | {in_flight} | {:.0} | {:.1} µs | {connections} |", measured.per_s, measured.cpu_us);
        }
    }
}

pub(crate) fn webpush(scale: &Scale) {
    let folder = tempfile::tempdir().expect("a folder");
    let certificate = Certificate::new(folder.path());
    let sinks: Vec<Sink> = (0..scale.services).map(|_| Sink::start(&certificate)).collect();
    println!("\n| Web Push, encrypted, to {} services | in flight | requests/s | processor time each |", sinks.len());
    println!("|---|---:|---:|---:|");
    for in_flight in scale.in_flight {
        let config = config(folder.path(), &certificate, &sinks, in_flight);
        let http = Http::new(&config, folder.path()).unwrap_or_else(|problems| panic!("{problems:?}"));
        let ways: [(&str, Arc<dyn Transport>); 2] =
            [("this transport", Arc::new(http)), ("no network", Arc::new(Nowhere))];
        for (what, transport) in ways {
            let couriers = couriers(&config, folder.path(), transport);
            let urls: Vec<String> = sinks.iter().map(Sink::url).collect();
            let browser = PrivateKey::generate(&ECDH_P256).expect("a key").compute_public_key().expect("a public key");
            let target = |number: usize| {
                Address::Target(PushTarget::WebPush {
                    subscription: Box::new(Subscription {
                        endpoint: format!("{}/wpush/v2/{number:0120x}", urls[number % urls.len()]),
                        expiration_time: None,
                        keys: SubscriptionKeys {
                            p256dh: URL_SAFE_NO_PAD.encode(browser.as_ref()),
                            auth: URL_SAFE_NO_PAD.encode([9; 16]),
                        },
                    }),
                })
            };
            let measured = measure(scale, (in_flight, Channel::WebPush), &sinks, couriers, target);
            println!("| {what} | {in_flight} | {:.0} | {:.1} µs |", measured.per_s, measured.cpu_us);
        }
    }
}

fn measure(
    scale: &Scale,
    (in_flight, channel): (usize, Channel),
    sinks: &[Sink],
    couriers: Couriers,
    target: impl Fn(usize) -> Address,
) -> crate::load::Rate {
    let couriers = Arc::new(couriers);
    let messages: Arc<Vec<(Notification, Address)>> =
        Arc::new((0..in_flight).map(|number| (message(number, channel, target(number)), target(number))).collect());
    Runtime::new().expect("a runtime").block_on(rate(scale, in_flight, sinks, move |number| {
        let (couriers, messages) = (Arc::clone(&couriers), Arc::clone(&messages));
        async move {
            let (message, address) = &messages[number];
            assert_eq!(couriers.deliver(message, address).await, Outcome::Accepted);
        }
    }))
}

fn couriers(config: &Config, folder: &Path, transport: Arc<dyn Transport>) -> Couriers {
    let tools =
        Tools { clock: Clock::System, entropy: Entropy::System, transport, store: None, webhooks: Default::default() };
    delivery::build(config, folder, tools).unwrap_or_else(|problems| panic!("{problems:?}"))
}

pub(crate) fn config(folder: &Path, certificate: &Certificate, sinks: &[Sink], concurrency: usize) -> Config {
    let key = rcgen::KeyPair::generate().expect("a key");
    std::fs::write(folder.join("key.pem"), key.serialize_pem()).expect("writable");
    let (authority, url) = (certificate.file.display(), sinks[0].url());
    let text = format!(
        r#"
        extra_ca = "{authority}"
        [apns]
        key = "key.pem"
        key_id = "ABC123DEFG"
        team_id = "DEF123GHIJ"
        production_url = "{url}"
        sandbox_url = "{url}"
        concurrency = {concurrency}
        [webpush]
        key = "key.pem"
        subject = "mailto:push@shop.example"
        allow_hosts = ["localhost"]
        allow_private = true
        concurrency = {concurrency}
        "#
    );
    toml::from_str(&text).expect("a configuration")
}
