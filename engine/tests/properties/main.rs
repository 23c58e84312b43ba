//! The engine against a naive oracle that shares no code with it.

mod driver;
mod geometry;
mod oracle;
mod presence;
mod rings;
mod settled;
mod settling;
mod timers;
mod walks;
mod zones;

/// As many cases as a laptop runs in seconds. `PROPTEST_CASES` and `PROPTEST_RNG_SEED` change that for a longer look.
pub(crate) fn cases(count: u32) -> proptest::test_runner::Config {
    let mut config = proptest::test_runner::Config { failure_persistence: None, ..Default::default() };
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = count;
    }
    config
}
