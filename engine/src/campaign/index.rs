//! Finds the campaigns that a transition or an order triggers, at a cost that grows with those found and not with
//! all there are.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use super::Campaign;
use crate::{
    id::{CampaignId, RegionId, StoreId},
    matching::{Transition, TransitionKind},
    order::OrderState,
    region::Region,
};

/// All campaigns, indexed by what triggers them.
#[derive(Clone, Debug, Default)]
pub struct Campaigns {
    /// The most important first, ties by id: a place in this list is a rank.
    ranked: Vec<Arc<Campaign>>,
    by_id: BTreeMap<CampaignId, usize>,
    transitions: BTreeMap<TransitionKind, Places>,
    orders: BTreeMap<OrderState, Vec<usize>>,
    pickups: BTreeMap<TransitionKind, Vec<usize>>,
    look_back: Duration,
}

/// The campaigns of one kind of transition. Each stands only under the most telling of its lists.
#[derive(Clone, Debug, Default)]
struct Places {
    regions: BTreeMap<RegionId, Vec<usize>>,
    stores: BTreeMap<StoreId, Vec<usize>>,
    tags: BTreeMap<String, Vec<usize>>,
    anywhere: Vec<usize>,
}

impl Campaigns {
    /// Indexes the campaigns. Of several with the same id the last one counts.
    pub fn new(campaigns: Vec<Arc<Campaign>>) -> Campaigns {
        let last: BTreeMap<CampaignId, Arc<Campaign>> =
            campaigns.into_iter().map(|campaign| (campaign.spec.id.clone(), campaign)).collect();
        let mut ranked: Vec<Arc<Campaign>> = last.into_values().collect();
        ranked.sort_by_key(|campaign| std::cmp::Reverse(campaign.spec.priority));
        let mut index = Campaigns::default();
        for (rank, campaign) in ranked.iter().enumerate() {
            index.by_id.insert(campaign.spec.id.clone(), rank);
            index.look_back = index.look_back.max(campaign.look_back());
            index.place(rank, campaign);
        }
        index.ranked = ranked;
        index
    }

    /// The campaign with this id.
    pub fn get(&self, id: &CampaignId) -> Option<&Arc<Campaign>> {
        self.by_id.get(id).and_then(|rank| self.ranked.get(*rank))
    }

    /// Every campaign, the most important first, ties by id.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Campaign>> {
        self.ranked.iter()
    }

    /// The budgets of the campaigns that have one.
    pub fn budgets(&self) -> impl Iterator<Item = (CampaignId, u64)> {
        self.ranked.iter().filter_map(|campaign| Some((campaign.spec.id.clone(), campaign.spec.budget.as_ref()?.total)))
    }

    /// The campaigns that a transition triggers, the most important first.
    pub fn on_transition(&self, transition: &Transition, region: Option<&Region>) -> Vec<&Arc<Campaign>> {
        let Some(places) = self.transitions.get(&transition.kind) else { return Vec::new() };
        let store = transition.store.as_ref().or_else(|| region.and_then(|region| region.store.as_ref()));
        let none = BTreeSet::new();
        let tags = region.map_or(&none, |region| &region.tags);
        let mut ranks = places.anywhere.clone();
        ranks.extend(places.regions.get(&transition.region).into_iter().flatten());
        ranks.extend(store.and_then(|store| places.stores.get(store)).into_iter().flatten());
        ranks.extend(tags.iter().filter_map(|tag| places.tags.get(tag)).flatten());
        ranks.sort_unstable();
        ranks.dedup();
        let found = ranks.into_iter().filter_map(|rank| self.ranked.get(rank));
        found.filter(|campaign| covers(campaign, &transition.region, store, tags)).collect()
    }

    /// The campaigns that an order in this state triggers, the most important first.
    pub fn on_order(&self, state: OrderState, store: Option<&StoreId>) -> Vec<&Arc<Campaign>> {
        self.at_store(self.orders.get(&state), store)
    }

    /// The campaigns that any order news of this store triggers, the most important first.
    pub(crate) fn of_orders(&self, store: Option<&StoreId>) -> Vec<&Arc<Campaign>> {
        let ranks: BTreeSet<usize> = self.orders.values().flatten().copied().collect();
        self.at_store(Some(&ranks.into_iter().collect()), store)
    }

    /// The campaigns that a shopper triggers who comes for an order, the most important first.
    pub fn on_pickup(&self, kind: TransitionKind, store: &StoreId) -> Vec<&Arc<Campaign>> {
        self.at_store(self.pickups.get(&kind), Some(store))
    }

    /// How far back any campaign looks.
    pub(crate) fn look_back(&self) -> Duration {
        self.look_back
    }

    fn at_store(&self, ranks: Option<&Vec<usize>>, store: Option<&StoreId>) -> Vec<&Arc<Campaign>> {
        let found = ranks.into_iter().flatten().filter_map(|rank| self.ranked.get(*rank));
        let fits = |campaign: &Arc<Campaign>| {
            let stores = &campaign.spec.on.stores;
            stores.is_empty() || store.is_some_and(|store| stores.contains(store))
        };
        found.filter(|campaign| fits(campaign)).collect()
    }

    fn place(&mut self, rank: usize, campaign: &Campaign) {
        let on = &campaign.spec.on;
        for state in on.order.iter().flat_map(|states| &states.0) {
            let ranks = self.orders.entry(*state).or_default();
            if ranks.last() != Some(&rank) {
                ranks.push(rank);
            }
        }
        if let Some(kind) = on.pickup {
            self.pickups.entry(kind).or_default().push(rank);
        }
        let Some(kind) = on.transition else { return };
        let places = self.transitions.entry(kind).or_default();
        if !on.regions.is_empty() {
            on.regions.iter().for_each(|region| places.regions.entry(region.clone()).or_default().push(rank));
        } else if !on.stores.is_empty() {
            on.stores.iter().for_each(|store| places.stores.entry(store.clone()).or_default().push(rank));
        } else if !on.tags.is_empty() {
            on.tags.iter().for_each(|tag| places.tags.entry(tag.clone()).or_default().push(rank));
        } else {
            places.anywhere.push(rank);
        }
    }
}

/// Every list that is not empty must name what happened.
fn covers(campaign: &Campaign, region: &RegionId, store: Option<&StoreId>, tags: &BTreeSet<String>) -> bool {
    let on = &campaign.spec.on;
    (on.regions.is_empty() || on.regions.contains(region))
        && (on.stores.is_empty() || store.is_some_and(|store| on.stores.contains(store)))
        && (on.tags.is_empty() || on.tags.iter().any(|tag| tags.contains(tag)))
}
