//! Phones are made known to the daemon before anything is measured, one request each, as apps do it.

use std::{cell::Cell, fs, path::Path, time::Duration};

use anyhow::{Context as _, bail};
use futures_util::future::try_join_all;
use http::{Method, uri::PathAndQuery};
use parvis_loadgen::{
    city::City,
    world::{Target, registration},
};
use serde::{Deserialize, Serialize};

use crate::{
    clock::Clock,
    connection::{Call, Endpoint, Link},
};

/// Many at once share a commit; more would only wait.
const CONNECTIONS: usize = 128;
const MARK: &str = "registered.json";

/// What a kept folder knows already.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mark {
    /// The phones' names and tokens follow from their numbers alone.
    pub(crate) phones: usize,
    /// Whether they have push targets.
    pub(crate) reachable: bool,
}

impl Mark {
    /// Whether the daemon of this folder knows all these phones.
    pub(crate) fn is_kept(&self, folder: &Path) -> bool {
        let kept = fs::read(folder.join(MARK)).ok().and_then(|text| serde_json::from_slice::<Mark>(&text).ok());
        kept.is_some_and(|kept| kept.phones >= self.phones && kept.reachable == self.reachable)
    }

    /// Notes that it does.
    ///
    /// # Errors
    /// If the folder can't be written.
    pub(crate) fn keep(&self, folder: &Path) -> anyhow::Result<()> {
        let file = folder.join(MARK);
        fs::write(&file, serde_json::to_vec(self)?).with_context(|| format!("{} can't be written", file.display()))
    }
}

/// Registers all phones of the city; gives how many seconds that took. `tell` gets how many there are so far.
///
/// # Errors
/// If the daemon refuses one.
pub(crate) async fn register(
    city: &City,
    endpoint: &Endpoint,
    (reachable, clock): (bool, Clock),
    tell: impl Fn(usize),
) -> anyhow::Result<f64> {
    let began_us = clock.now_us();
    let next = Cell::new(0);
    let endpoint = Endpoint { http2: false, keep_alive: true, ..endpoint.clone() };
    let target = if reachable { Target::Fcm } else { Target::None };
    let work = |mut link: Link| {
        let (next, endpoint, target) = (&next, &endpoint, &target);
        async move {
            while next.get() < city.plan().phones {
                let phone = next.replace(next.get() + 1);
                put(city, endpoint, &mut link, (phone as u32, target.clone(), clock)).await?;
            }
            anyhow::Ok(())
        }
    };
    let workers = try_join_all(Link::several(&endpoint, CONNECTIONS, 1).into_iter().map(work));
    let watch = async {
        loop {
            clock.sleep(Duration::from_secs(1)).await;
            tell(next.get());
        }
    };
    tokio::select! { biased;
        done = workers => done.map(drop)?,
        () = watch => {}
    }
    Ok((clock.now_us() - began_us) as f64 / 1e6)
}

async fn put(
    city: &City,
    endpoint: &Endpoint,
    link: &mut Link,
    (phone, target, clock): (u32, Target, Clock),
) -> anyhow::Result<()> {
    let (path, body) = registration(city, phone, target);
    let path = PathAndQuery::try_from(path).context("a phone whose name is no path")?;
    let call = Call { method: Method::PUT, path, content_type: "application/json", body: body.into() };
    loop {
        let answer = link.send(endpoint, call.clone()).await.context("phones can't be registered")?;
        match answer.status {
            200..=299 => return Ok(()),
            429 | 503 => clock.sleep(Duration::from_secs(answer.retry_after_s.unwrap_or(1))).await,
            status => {
                let why = String::from_utf8_lossy(&answer.body).into_owned();
                bail!("phones can't be registered: {status}: {why}");
            }
        }
    }
}
