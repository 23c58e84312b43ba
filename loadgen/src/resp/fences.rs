//! The city's geofences as live fences of the other server.

use anyhow::Context as _;
use parvis_loadgen::{city::City, world::geofences};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Commands, FLEET, Server};
use crate::measure::Verdict;

/// So many commands go out at once.
const PIPELINED: usize = 500;
/// What the names of channels begin with.
pub(crate) const CHANNEL: &str = "fence:";

#[derive(Deserialize)]
struct Collection<'a> {
    #[serde(borrow)]
    features: Vec<Feature<'a>>,
}

#[derive(Deserialize)]
struct Feature<'a> {
    id: String,
    #[serde(borrow)]
    geometry: &'a RawValue,
    properties: Properties,
}

#[derive(Deserialize)]
struct Properties {
    radius_m: Option<f64>,
}

#[derive(Deserialize)]
struct Point {
    coordinates: (f64, f64),
}

/// Sets every fence of the city: a channel for each, or a hook that calls `hook`.
///
/// # Errors
/// If the connection breaks. What the server refuses is counted.
pub(crate) async fn set(city: &City, server: &Server, hook: Option<&str>) -> anyhow::Result<Verdict> {
    let mut text = Vec::new();
    geofences(city, &mut text).context("no geofences")?;
    let collection: Collection<'_> = serde_json::from_slice(&text).context("no geofences")?;
    let mut stream = server.open().await?;
    let mut sum = Verdict::default();
    for features in collection.features.chunks(PIPELINED) {
        let mut commands = Commands::new();
        for feature in features {
            fence(&mut commands, feature, hook)?;
        }
        let verdict = stream.exchange(&commands).await?;
        sum.accepted += verdict.accepted;
        sum.failed += verdict.failed;
        sum.why = sum.why.or(verdict.why);
    }
    Ok(sum)
}

fn fence(commands: &mut Commands, feature: &Feature<'_>, hook: Option<&str>) -> anyhow::Result<()> {
    let name = format!("{CHANNEL}{}", feature.id);
    let mut words = match hook {
        Some(endpoint) => vec!["SETHOOK", &name, endpoint],
        None => vec!["SETCHAN", &name],
    };
    let fence = ["FENCE", "DETECT", "enter,exit"];
    let place: Vec<String> = match feature.properties.radius_m {
        Some(radius_m) => {
            let point: Point = serde_json::from_str(feature.geometry.get()).context("a circle without a centre")?;
            let (lon, lat) = point.coordinates;
            ["POINT".to_owned(), lat.to_string(), lon.to_string(), radius_m.to_string()].into()
        }
        None => ["OBJECT".to_owned(), feature.geometry.get().to_owned()].into(),
    };
    words.extend([if feature.properties.radius_m.is_some() { "NEARBY" } else { "WITHIN" }, FLEET]);
    words.extend(fence);
    words.extend(place.iter().map(String::as_str));
    let words: Vec<&[u8]> = words.into_iter().map(str::as_bytes).collect();
    commands.push(&words);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(feature: &str, hook: Option<&str>) -> String {
        let feature: Feature<'_> = serde_json::from_str(feature).expect("a feature");
        let mut commands = Commands::new();
        fence(&mut commands, &feature, hook).expect("a fence");
        let text = String::from_utf8(commands.bytes).expect("text");
        text.lines().skip(2).step_by(2).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn circles_are_near_and_polygons_are_within() {
        let circle = r#"{"id":"s-1","geometry":{"type":"Point","coordinates":[2.5,48]},"properties":{"radius_m":60}}"#;
        let expected = "SETCHAN fence:s-1 NEARBY fleet FENCE DETECT enter,exit POINT 48 2.5 60";
        assert_eq!(written(circle, None), expected);
        let polygon = r#"{"id":"s-2","geometry":{"type":"Polygon","coordinates":[]},"properties":{}}"#;
        let expected = "SETHOOK fence:s-2 http://127.0.0.1:1/ WITHIN fleet FENCE DETECT enter,exit OBJECT \
                        {\"type\":\"Polygon\",\"coordinates\":[]}";
        assert_eq!(written(polygon, Some("http://127.0.0.1:1/")), expected);
    }
}
