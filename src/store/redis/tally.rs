//! What must be counted or kept once whichever node is asked: budgets, and answers under idempotency keys.

use parvis_engine::{id::CampaignId, time::Timestamp};

use super::{call::Call, partition::Partition, scripts, shared::Shared};
use crate::store::{Answer, Error, codec};

impl Shared {
    pub(super) async fn lease_budget(&self, campaign: &CampaignId, total: u64, want: u64) -> Result<u64, Error> {
        let budgets = &self.keys.of(Partition::of_name(campaign.as_str())).budgets;
        let call = Call::script(&scripts::BUDGET, &[budgets]).arg(campaign.as_str()).arg(total).arg(want).durable();
        self.ask_one(call, budgets).await
    }

    pub(super) async fn answer(&self, key: &str) -> Result<Option<Answer>, Error> {
        let answers = &self.keys.of(Partition::of_name(key)).answers;
        let answer: Option<Vec<u8>> = self.ask_one(Call::command("HGET", answers).arg(key), answers).await?;
        answer.map(|answer| codec::decode(&answer, || format!("field {key:?} of {answers}"))).transpose()
    }

    pub(super) async fn keep_answer(&self, key: &str, answer: Answer, at: Timestamp) -> Result<(), Error> {
        let names = self.keys.of(Partition::of_name(key));
        let call = Call::script(&scripts::ANSWER, &[&names.answers, &names.answered]);
        let call = call.arg(key).arg(codec::encode(&answer)?).arg(at.as_millis()).durable();
        self.ask_one::<u64>(call, &names.answers).await.map(drop)
    }
}
