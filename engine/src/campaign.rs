//! The marketer's object, as it is written and as it is run.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{id::CampaignId, problem::Problem};

/// A campaign as it stands in a file or a request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// Its id.
    pub id: CampaignId,
}

/// A campaign, checked and compiled.
#[derive(Clone, Debug)]
pub struct Campaign {
    /// As it was written.
    pub spec: Spec,
}

impl Campaign {
    /// Checks and compiles a campaign.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn compile(spec: Spec) -> Result<Campaign, Vec<Problem>> {
        Ok(Campaign { spec })
    }
}

/// All campaigns, indexed by what triggers them.
#[derive(Clone, Debug, Default)]
pub struct Campaigns {}

impl Campaigns {
    /// Indexes the campaigns.
    pub fn new(_campaigns: Vec<Arc<Campaign>>) -> Campaigns {
        Campaigns {}
    }

    /// The campaign with this id.
    pub fn get(&self, _id: &CampaignId) -> Option<&Arc<Campaign>> {
        None
    }
}
