//! The control plane, under one tag of its own. Nodes ask for its generation twice a second: what is asked can't be
//! missed, as a notification can.

use super::{call::Call, reply, scripts, shared::Shared};
use crate::store::{Catalog, CatalogItem, Error};

/// The field that counts the changes. No object has it, for theirs have two lines.
const GENERATION: &str = "generation";

impl Shared {
    pub(super) async fn catalog(&self) -> Result<Catalog, Error> {
        let place = &self.keys.catalog;
        let fields: Vec<(String, String)> = self.ask_one(Call::command("HGETALL", place), place).await?;
        let mut catalog = Catalog::default();
        for (field, json) in fields {
            if field == GENERATION {
                let odd = |_| Error::Corrupt(format!("field {GENERATION} of {place}: {json:?} is no number"));
                catalog.generation = json.parse().map_err(odd)?;
                continue;
            }
            let odd = || Error::Corrupt(format!("{place} has a field {field:?}, which names no object"));
            let (kind, id) = field.split_once('\n').ok_or_else(odd)?;
            catalog.items.push(CatalogItem { kind: kind.to_owned(), id: id.to_owned(), json: Some(json) });
        }
        catalog.items.sort_unstable_by(|one, other| (&one.kind, &one.id).cmp(&(&other.kind, &other.id)));
        Ok(catalog)
    }

    pub(super) async fn put_catalog(&self, items: Vec<CatalogItem>, generation: u64) -> Result<Option<u64>, Error> {
        let mut call = Call::script(&scripts::CATALOG, &[&self.keys.catalog]).arg(generation);
        for CatalogItem { kind, id, json } in &items {
            call = call.arg(format!("{kind}\n{id}")).arg(json.as_deref().unwrap_or_default());
        }
        let generation: i64 = self.ask_one(call.durable(), &self.keys.catalog).await?;
        let generation = u64::try_from(generation).ok();
        if let Some(generation) = generation {
            self.tell_generation(generation);
        }
        Ok(generation)
    }

    /// Asks for the generation, whoever has changed it.
    pub(super) async fn poll_generation(&self) -> Result<(), Error> {
        let call = Call::command("HGET", &self.keys.catalog).arg(GENERATION);
        let value = self.ask(&[call]).await?.pop();
        let generation: Option<u64> = value.map_or(Ok(None), |value| reply::read(value, &self.keys.catalog))?;
        self.tell_generation(generation.unwrap_or(0));
        Ok(())
    }

    /// An answer may be overtaken by a newer one. After a failover the number may be less than it was, and then the
    /// catalog is another too.
    fn tell_generation(&self, generation: u64) {
        self.generation.send_if_modified(|known| std::mem::replace(known, generation) != generation);
    }
}
