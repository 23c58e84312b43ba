//! A store that is away: commits that took effect although their answers were lost, and the door meanwhile.

use parvis_engine::{
    observation::{Fix, Position},
    shopper::{Consent, Consents, PushTarget},
};
use tokio_util::task::TaskTracker;

use super::*;
use crate::{
    catalog::Sources,
    pipeline, report,
    report::What,
    store::{
        JournalQuery,
        memory::{Fault, Memory},
    },
};

const FENCE: &str = r#"{"type":"FeatureCollection","features":[{"type":"Feature","id":"shop",
    "geometry":{"type":"Point","coordinates":[2.35,48.86]},"properties":{"radius_m":100.0,"tags":["tv"]}}]}"#;
const CAMPAIGN: &str = r#"
    [[campaign]]
    id = "first"
    purpose = "offer"
    on = { transition = "enter", tags = ["tv"] }
    budget = { total = 1 }
    content.en = { title = "First", body = "Only one gets this." }
"#;

async fn shards(store: &Memory, clock: &Clock, tasks: &TaskTracker) -> Shards {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("geofences.geojson"), FENCE).expect("a file");
    std::fs::write(folder.path().join("campaigns.toml"), CAMPAIGN).expect("a file");
    let sources =
        Sources { folder: folder.path().to_owned(), config: Default::default(), settings: Default::default() };
    let (catalog, _worker) = Catalog::open(sources, Arc::new(store.clone())).await.expect("a sound catalog");
    let tools = Tools {
        store: Arc::new(store.clone()),
        catalog,
        clock: clock.clone(),
        reporter: Reporter::new(&report::Config::default()),
        webhooks: Default::default(),
        abandon: CancellationToken::new(),
    };
    let (inbox, shard) = Shard::new(&Config::default(), tools);
    tasks.spawn(pipeline::run_shard(shard));
    Shards::new(vec![inbox])
}

/// A shopper with a phone who allows everything.
async fn arrive(shards: &Shards, name: &str) -> (ShopperId, DeviceId) {
    let shopper: ShopperId = name.parse().expect("an id");
    let device: DeviceId = format!("phone-of-{name}").parse().expect("an id");
    let yes = Some(Consent { granted: true, at: Timestamp::from_millis(0), text: None });
    let consents = Consents { location: yes.clone(), offers: yes, orders: None };
    let profile = Profile { consents, ..Profile::default() };
    let registration = Registration {
        shopper: Some(shopper.clone()),
        platform: "android".to_owned(),
        app: None,
        target: Some(PushTarget::Fcm { token: Some(name.into()), fid: None }),
        locale: None,
        time_zone: None,
        consents: None,
        preferred: false,
        progress: false,
        link: None,
    };
    shards.ask(shopper.clone(), Input::Profile(profile)).await.expect("taken");
    let input = Input::Register { device: device.clone(), registration };
    shards.ask(shopper.clone(), input).await.expect("taken");
    (shopper, device)
}

#[tokio::test(start_paused = true)]
async fn what_a_commit_with_a_lost_answer_took_of_a_budget_stays_spent() {
    let (store, tasks) = (Memory::new(), TaskTracker::new());
    let clock = Clock::simulated(Timestamp::from_millis(1_700_000_000_000));
    let shards = shards(&store, &clock, &tasks).await;
    let people = [arrive(&shards, "C-1").await, arrive(&shards, "C-2").await];
    store.faults().fail_commit(Fault::After);
    for (shopper, device) in people {
        let position = Position { lat: 48.86, lon: 2.35 };
        let at = clock.now();
        let fix = Fix { at, position, accuracy_m: 0.0, speed_mps: None, course_deg: None, floor: None };
        let input = Input::Observed { device, observations: vec![Observation::Fix(fix)] };
        shards.ask(shopper, input).await.expect("taken");
    }
    let query = JournalQuery { limit: 100, ..JournalQuery::default() };
    let journal = store.journal(query).await.expect("the store is open");
    let sent = journal.iter().filter(|row| matches!(row.what, What::Decision { notification: Some(_), .. }));
    assert_eq!(sent.count(), 1, "{journal:#?}");
    drop(shards);
    tasks.close();
    tasks.wait().await;
}

#[tokio::test(start_paused = true)]
async fn who_comes_while_the_store_is_away_is_told_and_who_was_there_is_answered() {
    let (store, tasks) = (Memory::new(), TaskTracker::new());
    let clock = Clock::simulated(Timestamp::from_millis(1_700_000_000_000));
    let shards = shards(&store, &clock, &tasks).await;
    let (shopper, _) = arrive(&shards, "C-1").await;
    (0..5).for_each(|_| store.faults().fail_commit(Fault::Before));
    let profile = || Input::Profile(Profile { locale: Some("fr".into()), ..Profile::default() });
    let first = shards.submit(shopper.clone(), profile()).expect("taken");
    clock.sleep(std::time::Duration::from_millis(500)).await;
    let refused = Err(Refusal::Unavailable("the store is away".to_owned()));
    assert_eq!(shards.ask(shopper.clone(), profile()).await, refused, "at the door, at once");
    let told = shards.tell(shopper.clone(), profile());
    assert_eq!(tokio::join!(first.one(), told), (Ok(Answer::Done), Ok(Answer::Done)), "what is inside waits");
    assert_eq!(shards.ask(shopper, profile()).await, Ok(Answer::Done), "and the door is open again");
    drop(shards);
    tasks.close();
    tasks.wait().await;
}
