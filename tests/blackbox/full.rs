//! The disk is full: nothing that can't be kept is answered as kept, the daemon lives, and works again when there is room.

use http::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::rig::{self, Reply, Rig};

/// A limit on the size of files stands in for a full disk: no privilege is needed, and it can be lifted.
async fn limit(rig: &Rig, bytes: &str) {
    let id = rig.process_id().to_string();
    let set = Command::new("prlimit").args([&format!("--fsize={bytes}:"), "--pid", &id]).status().await;
    assert!(set.expect("prlimit, of util-linux, is installed").success());
}

/// An order with much to keep.
async fn order(rig: &Rig, n: usize) -> Reply {
    let lines: Vec<_> = (0..60).map(|line| json!({ "sku": format!("{line}-{}", "x".repeat(1_500)) })).collect();
    let event = json!({ "event": "E-1", "at": rig::now(), "state": "registered", "shopper": format!("C-{n}"),
        "fulfilment": "delivery", "lines": lines });
    rig.call(Method::POST, &format!("/v1/orders/A-{n}/events"), &event).await
}

async fn is_known(rig: &Rig, n: usize) -> bool {
    let reply = rig.call(Method::GET, &format!("/v1/orders/A-{n}"), &Value::Null).await;
    assert!(reply.status == StatusCode::OK || reply.status == StatusCode::NOT_FOUND, "{reply:?}");
    reply.status == StatusCode::OK
}

#[tokio::test]
async fn a_full_disk_refuses_and_does_not_kill() {
    let mut rig = Rig::prepare(&[], &[]).await;
    rig.outlives_limits = true;
    // A shard tries again until the disk takes it, so its callers are answered by the clock.
    rig.set("http.request_timeout", "1s");
    rig.boot().await;
    rig.put_shop(json!({})).await;
    let answered = 5;
    for n in 0..answered {
        assert!(order(&rig, n).await.status.is_success());
    }
    // Not even what is there already can be written anew, but for its beginning.
    limit(&rig, "8192").await;
    for _ in 0..2 {
        let refused = order(&rig, answered).await;
        assert!(!refused.status.is_success(), "{refused:?}");
    }
    let store = json!({ "name": "Opéra", "time_zone": "Europe/Paris" });
    let refused = rig.call(Method::PUT, "/v1/stores/late", &store).await;
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE, "{refused:?}");
    assert!(refused.header("retry-after").parse::<u64>().is_ok_and(|seconds| seconds >= 1), "{refused:?}");
    refused.problem("unavailable");
    rig.get("/v1/geofences/shop").await;
    for n in 0..answered {
        assert!(is_known(&rig, n).await, "{n} was answered");
    }
    let log = rig.log().join("\n");
    assert_eq!(log.matches("the store can't write").count(), 1, "said once: {log}");

    limit(&rig, "unlimited").await;
    rig::until("room", async || order(&rig, answered).await.status.is_success().then_some(())).await;
    rig.put("/v1/stores/late", store).await;
    assert!(rig.log().iter().any(|line| line.contains("the store writes again")));
    rig.kill().await;
    rig.boot().await;
    for n in 0..=answered {
        assert!(is_known(&rig, n).await, "{n} was answered");
    }
    rig.get("/v1/stores/late").await;
}
