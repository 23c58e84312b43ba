//! Shops: where they are in time, when they are open.

use serde::{Deserialize, Serialize};

use crate::{id::StoreId, problem::Problem};

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
        let zone = jiff::tz::TimeZone::get(&spec.time_zone)
            .map_err(|_| vec![Problem::new("/time_zone", format!("{:?} is not an IANA time zone", spec.time_zone))])?;
        Ok(Store { spec, zone })
    }
}
