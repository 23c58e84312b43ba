//! Messages that were given up, by the time of it: found without reading every life.

use parvis_engine::{id::NotificationId, notification::Notification};
use redb::{ReadTransaction, ReadableTable};

use super::{codec, group::Group, read, tables};
use crate::store::{DeadQuery, Error, Life, life::Progress};

/// The lives that a query asks for, newest end first.
pub(super) fn list(transaction: &ReadTransaction, query: &DeadQuery) -> Result<Vec<Life>, Error> {
    let end = query.before.map_or((i64::MAX, u128::MAX), tables::grave);
    let wanted = (query.channel.map(tables::code), query.app.as_ref().map(|app| app.as_str()));
    let mut lives = Vec::new();
    for row in transaction.open_table(tables::DEAD)?.range(..end)?.rev() {
        if lives.len() == query.limit {
            break;
        }
        let (grave, value) = row?;
        let (channel, app) = value.value();
        if wanted.0.is_some_and(|wanted| wanted != channel) || wanted.1.is_some_and(|wanted| wanted != app) {
            continue;
        }
        match read::life(transaction, NotificationId::from_u128(grave.value().1)) {
            Ok(life) => lives.extend(life),
            // It waits for an operator; the others do not.
            Err(Error::Corrupt(why)) => tracing::error!("a message that was given up is passed over: {why}"),
            Err(error @ Error::Unavailable(_)) => return Err(error),
        }
    }
    Ok(lives)
}

impl Group<'_, '_> {
    /// Enters a message into the list if its life says that it was given up.
    pub(super) fn bury(&mut self, id: NotificationId, progress: &Progress) -> Result<(), Error> {
        let Some(cursor) = progress.dead(id) else { return Ok(()) };
        let Some(body) = self.tables.messages.get(id.as_u128())?.map(|row| row.value().2.to_vec()) else {
            return Ok(());
        };
        match codec::decode::<Notification>(&body, || format!("message {id}")) {
            Ok(message) => {
                let value = (tables::code(message.channel), message.app.as_str());
                self.tables.dead.insert(tables::grave(cursor), value)?;
            }
            Err(error) => tracing::error!("a message is not in the list of those that were given up: {error}"),
        }
        Ok(())
    }

    /// Removes a message with its life.
    pub(super) fn forget_message(&mut self, id: u128) -> Result<(), Error> {
        let life = self.tables.lives.remove(id)?.map(|life| life.value().2.to_vec());
        self.tables.messages.remove(id)?;
        let id = NotificationId::from_u128(id);
        // A life that can't be read leaves a row that leads nowhere.
        let progress = life.and_then(|life| codec::decode::<Progress>(&life, String::new).ok());
        if let Some(cursor) = progress.and_then(|progress| progress.dead(id)) {
            self.tables.dead.remove(tables::grave(cursor))?;
        }
        Ok(())
    }
}
