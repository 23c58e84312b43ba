//! Scanner hosts and gateways as they are written, and whether they are sound.

use serde::{Deserialize, Serialize};

use super::{Plan, name_problem, place_problems};
use crate::{
    id::{RegionId, ScannerId, StoreId},
    observation::Position,
    problem::Problem,
};

/// A scanner as it stands in a file or a request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// Its id: the agent's own, or a gateway's address in lower case without separators.
    pub id: ScannerId,
    /// What people call it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The store that it hangs in.
    pub store: StoreId,
    /// The zone that it speaks for when it hears a tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<RegionId>,
    /// Where it is on earth.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<Position>,
    /// Where it is on the shop's floor plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<Plan>,
    /// What is added to every signal strength that it reports, dB: radios differ.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub offset_db: f64,
}

/// A scanner, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Scanner {
    /// As it was written.
    pub spec: Spec,
}

impl Scanner {
    /// Checks a scanner.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn compile(spec: Spec) -> Result<Scanner, Vec<Problem>> {
        let mut problems = place_problems(spec.position, spec.plan);
        problems.extend(name_problem(spec.name.as_ref()));
        if !(-40.0..=40.0).contains(&spec.offset_db) {
            problems.push(Problem::new("/offset_db", "must be from -40 to 40 dB"));
        }
        if problems.is_empty() { Ok(Scanner { spec }) } else { Err(problems) }
    }
}

fn is_zero(offset_db: &f64) -> bool {
    *offset_db == 0.0
}
