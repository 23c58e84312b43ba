//! A message that a back end has handed in.

use parvis::clock::Clock;
use parvis_engine::{
    id::NotificationId,
    notification::{Address, Body, Channel, Content, Notification, Origin, Purpose, Recipient},
    time::Timestamp,
};

pub(crate) fn name<T: std::str::FromStr<Err = String>>(text: &str) -> T {
    text.parse().expect("a valid name")
}

pub(crate) fn message(number: usize, channel: Channel, address: Address) -> Notification {
    let now = Clock::System.now();
    Notification {
        id: NotificationId::from_u128(0x018b_cfe5_6800_8dcb_a1e1_0000_0000_0000 + number as u128),
        shopper: name("C-1001"),
        recipient: Recipient::Address(Box::new(address)),
        channel,
        app: Default::default(),
        origin: Origin::Request { request: "televisions".to_owned(), purpose: Purpose::Offer },
        replays: None,
        body: Body::Content(Content {
            title: "Votre prochain téléviseur".to_owned(),
            body: "Les modèles que vous regardiez hier sont en magasin, à deux pas d'ici.".to_owned(),
            deep_link: Some("https://shop.example/televisions".to_owned()),
            data: [("aisle".to_owned(), "7".to_owned())].into(),
            locale: "fr-FR".to_owned(),
        }),
        collapse: "televisions".to_owned(),
        observed_at: now,
        decided_at: now,
        not_before: now,
        expires_at: Timestamp::MAX,
    }
}
