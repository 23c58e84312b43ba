//! When a message is sent twice, and that it has the same ids then.

use std::collections::BTreeMap;

use parvis::sandbox::{Behaviour, Conditions};
use parvis_engine::{
    notification::{Address, Channel, Milestone},
    shopper::PushTarget,
};

use crate::rig::{Rig, hurried};

fn token(address: &Address) -> String {
    let Address::Target(PushTarget::Apns { token, .. }) = address else { panic!("a phone") };
    token.to_string()
}

#[tokio::test]
async fn a_reply_that_is_lost_after_acceptance_is_followed_by_the_same_ids() {
    for lost in [Behaviour::Silent { times: Some(1) }, Behaviour::Reset { times: Some(1) }] {
        let mut rig = Rig::new(&["default"], hurried()).await;
        let phone = rig.phone("default");
        rig.behave("default", &phone, lost.clone());
        rig.start().await;
        let offers = rig.offers("default", &phone, 1);
        let ids = rig.put(offers).await;
        assert_eq!(rig.ends(&ids).await, [Milestone::Accepted]);
        let accepted = rig.accepted("default");
        // A reset in the middle of the answer leaves its status, which says enough.
        let sent = accepted.len();
        assert!(
            (1..=2).contains(&sent) && accepted.iter().all(|id| *id == ids[0].to_string()),
            "{lost:?}: {accepted:?}"
        );
        if matches!(lost, Behaviour::Silent { .. }) {
            assert_eq!((sent, rig.life(ids[0]).await.attempts), (2, 2));
        }
        assert_eq!(rig.service("default").shown(&token(&phone)).len(), 1, "the shopper sees one");
        rig.stop().await;
    }
}

#[tokio::test]
async fn a_node_that_ends_under_load_loses_nothing_and_sends_nothing_twice() {
    let mut rig = Rig::new(&["default"], hurried()).await;
    let slow = Conditions { latency_ms: 10, ..Conditions::default() };
    rig.service("default").set_conditions(Channel::Apns, slow);
    rig.start().await;
    let phone = rig.phone("default");
    let offers = rig.offers("default", &phone, 1_500);
    let ids = rig.put(offers).await;
    for stop_at in [100, 500, 900] {
        rig.service("default").wait_for(stop_at).await;
        rig.stop().await;
        let counted = rig.service("default").counts().accepted;
        assert!(counted < 1_500, "it ended in the middle");
        rig.start().await;
    }
    assert!(rig.ends(&ids).await.iter().all(|end| *end == Milestone::Accepted));
    let mut times: BTreeMap<String, usize> = BTreeMap::new();
    rig.accepted("default").into_iter().for_each(|id| *times.entry(id).or_default() += 1);
    assert_eq!(times.len(), 1_500);
    assert!(times.values().all(|times| *times == 1), "what was under way was settled before the node ended");
    rig.stop().await;
}
