//! What servers answer, as the types that are meant. What does not fit is said, never guessed.

use redis::{FromRedisValue, Value};

use crate::store::Error;

/// An answer as what it should be; `what` names it in the error.
pub(super) fn read<T: FromRedisValue>(value: Value, what: &str) -> Result<T, Error> {
    redis::from_redis_value(value).map_err(|error| Error::Corrupt(format!("{what} is not what it should be: {error}")))
}
