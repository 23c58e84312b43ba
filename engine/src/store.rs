//! Shops: where they are in time, when they are open.

use std::collections::BTreeMap;

use parvis_beacons::ranging;
use serde::{Deserialize, Serialize};

use crate::{id::StoreId, problem::Problem, schedule::Hours, shopper::Attribute};

/// The longest text of a shop, in bytes.
const TEXT_MAX: usize = 256;
/// The most attributes of a shop.
const ATTRIBUTES_MAX: usize = 64;

/// A shop as it stands in a file or a request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// Its id.
    pub id: StoreId,
    /// What shoppers call it.
    pub name: String,
    /// IANA time zone, such as `Europe/Paris`.
    pub time_zone: String,
    /// When it is open; without them nobody knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hours: Option<Hours>,
    /// Street and town, as shoppers read them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Telephone number, as shoppers read it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phone: Option<String>,
    /// How signal strengths become zones here, instead of the operator's setting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ranging: Option<ranging::Settings>,
    /// Facts for templates.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, Attribute>,
}

/// A shop, checked.
#[derive(Clone, Debug)]
pub struct Store {
    /// As it was written.
    pub spec: Spec,
    /// Its time zone.
    pub zone: jiff::tz::TimeZone,
}

impl Store {
    /// Checks a shop.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn compile(spec: Spec) -> Result<Store, Vec<Problem>> {
        let mut problems = Vec::new();
        if spec.name.trim().is_empty() {
            problems.push(Problem::new("/name", "a store needs a name that shoppers know"));
        }
        let texts = [("/name", Some(&spec.name)), ("/address", spec.address.as_ref()), ("/phone", spec.phone.as_ref())];
        for (path, text) in texts {
            if text.is_some_and(|text| text.len() > TEXT_MAX) {
                problems.push(Problem::new(path, format!("at most {TEXT_MAX} bytes")));
            }
        }
        if let Some(hours) = &spec.hours {
            problems.extend(hours.problems().into_iter().map(|problem| problem.under("/hours")));
        }
        for (path, message) in spec.ranging.iter().flat_map(ranging::Settings::problems) {
            problems.push(Problem::new(format!("/ranging{path}"), message));
        }
        if spec.attributes.len() > ATTRIBUTES_MAX {
            problems.push(Problem::new("/attributes", format!("at most {ATTRIBUTES_MAX} attributes")));
        }
        for (name, attribute) in &spec.attributes {
            if let Err(message) = attribute.check(name) {
                problems.push(Problem::new(format!("/attributes/{name}"), message));
            }
        }
        let zone = jiff::tz::TimeZone::get(&spec.time_zone);
        if zone.is_err() {
            problems.push(Problem::new("/time_zone", format!("{:?} is not an IANA time zone", spec.time_zone)));
        }
        match zone {
            Ok(zone) if problems.is_empty() => Ok(Store { spec, zone }),
            Ok(_) | Err(_) => Err(problems),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_problem_is_named() {
        let spec: Spec = serde_json::from_str(
            r#"{"id":"paris-1","name":" ","time_zone":"Europe/Lutetia","hours":{"mon":[["09:00","09:00"]]}}"#,
        )
        .expect("well formed");
        let problems = Store::compile(spec).expect_err("three problems");
        let paths: Vec<&str> = problems.iter().map(|problem| problem.path.as_str()).collect();
        assert_eq!(paths, ["/name", "/hours/mon/0", "/time_zone"]);
    }

    #[test]
    fn a_whole_store_is_taken() {
        let spec: Spec = serde_json::from_str(
            r#"{"id":"paris-1","name":"Rue de Rivoli","time_zone":"Europe/Paris","phone":"+33 1",
                "hours":{"mon":[["09:00","19:00"]]},"attributes":{"parking":true}}"#,
        )
        .expect("well formed");
        assert!(Store::compile(spec).is_ok());
    }
}
