//! One call forgets a person, messages that wait included.

use http::Method;
use parvis::sandbox::Conditions;
use parvis_engine::notification::Channel;
use serde_json::{Value, json};

use crate::rig::{self, Rig, ago, north};

#[tokio::test]
async fn nothing_is_left_and_nothing_is_sent() {
    let mut rig = Rig::start().await;
    rig.put_shop(json!({})).await;
    rig.put("/v1/campaigns/hello", rig::greeting("enter")).await;
    rig.sandbox.set_conditions(Channel::Apns, Conditions { failing: Some(503), ..Conditions::default() });
    for (shopper, device) in [("C-1", "phone-1"), ("C-2", "phone-2")] {
        rig.put_guest(shopper, device, rig.apns()).await;
        assert_eq!(rig.ping(device, ago(5), north(0.0)).await, ["enter shop"]);
    }
    let order = json!({ "event": "E-1", "at": ago(5), "state": "shipped", "shopper": "C-1", "fulfilment": "delivery" });
    rig.post("/v1/orders/A-1/events", order).await;
    let ids: Vec<String> = rig.lives("C-1").await.iter().map(rig::id).collect();
    assert_eq!(ids.len(), 1);

    let erased = rig.call(Method::DELETE, "/v1/shoppers/C-1", &Value::Null).await;
    assert_eq!(erased.status, http::StatusCode::NO_CONTENT);
    let gone = ["/v1/shoppers/C-1".to_owned(), "/v1/devices/phone-1".to_owned(), "/v1/orders/A-1".to_owned()];
    let gone: Vec<String> = gone.into_iter().chain(ids.iter().map(|id| format!("/v1/notifications/{id}"))).collect();
    for round in 0..2 {
        for path in &gone {
            rig.call(Method::GET, path, &Value::Null).await.problem("not_found");
        }
        assert!(rig.lives("C-1").await.is_empty());
        let answer = rig.post("/v1/observations", rig::report("phone-1", ago(1), north(0.0))).await;
        assert_eq!(answer["rejected"][0]["reason"], "unknown_device");
        if round == 0 {
            rig.kill().await;
            rig.boot().await;
        }
    }
    rig.sandbox.set_conditions(Channel::Apns, Conditions::default());
    let other = rig.ended_lives("C-2", 1).await.remove(0);
    assert_eq!(rig::terminal(&other), ["accepted"], "who stays still gets theirs");
    assert_eq!(rig.accepted().iter().map(|it| rig::carried(it)).collect::<Vec<_>>(), [rig::id(&other)]);
    rig.nothing_waits("apns").await;
    assert_eq!(rig.metric("parvis_shoppers").await, 1.0);
    assert!(!rig.log().iter().any(|line| line.contains("48.87")), "no coordinates in the log");

    rig.put_guest("C-1", "phone-1", rig.apns()).await;
    let new = rig.get("/v1/shoppers/C-1").await;
    assert_eq!((new["journal"].as_array().map(Vec::len), new["shopper"].get("sends")), (Some(0), None), "{new}");
}
