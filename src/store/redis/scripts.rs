//! The scripts, by name. What each of them promises and takes stands in its text.

use super::script::Script;

macro_rules! scripts {
    ($($(#[$doc:meta])* $name:ident = $first_line:literal $(+ $file:literal)+;)*) => {
        $($(#[$doc])* pub(super) static $name: Script = Script::new(concat!($first_line, $(include_str!($file)),+));)*
        #[cfg(test)]
        pub(super) static ALL: &[&Script] = &[$(&$name),*];
    };
}

scripts! {
    COMMIT = "#!lua\n" + "lua/shopper.lua" + "lua/commit.lua";
    /// The same for a call that only erases: it must work when memory is full, to make room.
    ERASE = "#!lua flags=allow-oom\n" + "lua/shopper.lua" + "lua/commit.lua";
    PREPARE = "#!lua\n" + "lua/shopper.lua" + "lua/prepare.lua";
    DECIDE = "#!lua\n" + "lua/shopper.lua" + "lua/decide.lua";
    /// The same for those who have devices or orders.
    PREPARE_ERASURE = "#!lua flags=allow-oom\n" + "lua/shopper.lua" + "lua/prepare.lua";
    DECIDE_ERASURE = "#!lua flags=allow-oom\n" + "lua/shopper.lua" + "lua/decide.lua";
    FINISH = "#!lua flags=allow-oom\n" + "lua/shopper.lua" + "lua/finish.lua";
    RELEASE = "#!lua flags=allow-oom\n" + "lua/release.lua";
    RESOLVE = "#!lua flags=allow-oom\n" + "lua/resolve.lua";
    STALE = "#!lua flags=allow-oom\n" + "lua/stale.lua";
    CLAIM = "#!lua flags=allow-oom\n" + "lua/claim.lua";
    SETTLE = "#!lua flags=allow-oom\n" + "lua/shopper.lua" + "lua/settle.lua";
    /// The same where something follows: then it may wait until there is memory.
    SETTLE_AND_ADD = "#!lua\n" + "lua/shopper.lua" + "lua/settle.lua";
    REQUEUE = "#!lua flags=allow-oom\n" + "lua/requeue.lua";
    BURY = "#!lua\n" + "lua/bury.lua";
    /// A token must be renewed when memory is full too, or nothing that waits would ever leave.
    NOTE = "#!lua flags=allow-oom\n" + "lua/note.lua";
    REPORT = "#!lua\n" + "lua/report.lua";
    WAKE = "#!lua flags=allow-oom\n" + "lua/wake.lua";
    BUDGET = "#!lua\n" + "lua/budget.lua";
    ANSWER = "#!lua\n" + "lua/answer.lua";
    CATALOG = "#!lua\n" + "lua/catalog.lua";
    IMPORT_SHOPPER = "#!lua\n" + "lua/import_shopper.lua";
    IMPORT_ORDER = "#!lua\n" + "lua/import_order.lua";
    PRUNE_LIVES = "#!lua flags=allow-oom\n" + "lua/prune_lives.lua";
    PRUNE_ROWS = "#!lua flags=allow-oom\n" + "lua/prune_rows.lua";
    PRUNE_ANSWERS = "#!lua flags=allow-oom\n" + "lua/prune_answers.lua";
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn scripts_differ_and_say_what_they_take() {
        let names: BTreeSet<_> = ALL.iter().map(|script| script.sha1()).collect();
        assert_eq!(names.len(), ALL.len());
        for script in ALL {
            let said = |word| script.source().lines().any(|line| line.starts_with(word));
            assert!(said("#!lua") && said("-- KEYS:") && said("-- ARGV:"), "{}", script.source());
        }
    }
}
