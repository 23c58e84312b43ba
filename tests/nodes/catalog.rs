//! What is put through one node decides on all.

use futures_util::future::join_all;
use http::Method;
use serde_json::{Value, json};

use crate::{
    nodes::{Nodes, on_cluster, rounds},
    rig,
    server::Cluster,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_through_one_node_decides_on_all() {
    let cluster = Cluster::start(3, &[]).await;
    let nodes = Nodes::start(on_cluster(&cluster, 3), &[]).await;
    let rig = &nodes.rig;
    rig.put_guest("C-1", "phone", rig.apns()).await;
    for round in 0..rounds(3) {
        let (writer, reader) = (round % 3, (round + 1) % 3);
        let fence = format!("/v1/geofences/hall-{round}");
        let circle = rig::circle(rig::SHOP, 100.0, json!({}));
        nodes.must(writer, Method::PUT, &fence, &circle).await;
        nodes.must(writer, Method::PUT, "/v1/campaigns/hello", &rig::greeting("enter")).await;
        nodes.shown(reader, &fence).await;
        let body = rig::report("phone", rig::now(), rig::SHOP);
        let answer = nodes.must(reader, Method::POST, "/v1/observations", &body).await;
        assert!(rig::names(&answer["transitions"]).contains(&format!("enter hall-{round}")), "{answer}");
        nodes.must(reader, Method::DELETE, &fence, &Value::Null).await;
        for node in 0..nodes.count() {
            rig::until("the fence to go everywhere", async || {
                let reply = nodes.call(node, Method::GET, &fence, &Value::Null).await;
                (reply.status == http::StatusCode::NOT_FOUND).then_some(())
            })
            .await;
        }
    }
    nodes.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn puts_through_all_nodes_at_once_are_all_kept() {
    let cluster = Cluster::start(3, &[]).await;
    let nodes = Nodes::start(on_cluster(&cluster, 3), &[]).await;
    let store = json!({ "name": "Opéra", "time_zone": "Europe/Paris" });
    let paths: Vec<String> = (0..rounds(45)).map(|number| format!("/v1/stores/s-{number:04}")).collect();
    let put = async |(number, path): (usize, &String)| {
        nodes.must(number % 3, Method::PUT, path, &store).await;
        // Another node may not show it yet, and must know it all the same where it decides what is right.
        let fence = format!("/v1/geofences/f-{number}");
        let circle = rig::circle(rig::SHOP, 50.0, json!({ "store": path.trim_start_matches("/v1/stores/") }));
        nodes.must((number + 1) % 3, Method::PUT, &fence, &circle).await;
    };
    join_all(paths.iter().enumerate().map(put)).await;
    for node in 0..nodes.count() {
        for path in &paths {
            nodes.shown(node, path).await;
        }
    }
    let in_use = nodes.call(2, Method::DELETE, &paths[0], &Value::Null).await;
    in_use.problem("invalid");
    nodes.end().await;
}
