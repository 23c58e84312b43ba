//! What the engine's settings must keep to.

use std::time::Duration;

use parvis_engine::{
    problem::{Problem, Requirements},
    world,
};

/// What can't work.
pub(super) fn problems(settings: &world::Settings) -> Vec<Problem> {
    let mut must = Requirements::default();
    let world::Settings { observations, track, presence, marketing, ranging, live } = settings;
    let day = Duration::from_secs(24 * 3_600);
    let skew = observations.skew_max;
    must.require(observations.lateness_max <= 7 * day, "/observations/lateness_max", "must be at most 7 days");
    must.require(skew <= day, "/observations/skew_max", "must be at most 24 hours");
    let accuracy = observations.accuracy_max_m;
    let positive = |number: f64| number.is_finite() && number > 0.0;
    must.require(positive(accuracy), "/observations/accuracy_max_m", format!("{accuracy} must be more than 0"));
    let speed = track.speed_max_mps;
    must.require(positive(speed), "/track/speed_max_mps", format!("{speed} must be more than 0"));
    let (enter, exit) = (presence.enter_probability, presence.exit_probability);
    let enter_path = "/presence/enter_probability";
    must.require((0.5..=0.99).contains(&enter), enter_path, format!("{enter} must be from 0.5 to 0.99"));
    let exit_path = "/presence/exit_probability";
    must.require((0.01..=0.5).contains(&exit), exit_path, format!("{exit} must be from 0.01 to 0.5"));
    let apart = format!("{exit} must be less than enter_probability ({enter}), or presences would flap");
    must.require(exit < enter, exit_path, apart);
    // A late fix may still change a presence; one that has timed out already would come back from the dead.
    let lateness = observations.lateness_max;
    let message =
        format!("must be longer than observations.lateness_max ({})", parvis_engine::time::duration::format(lateness));
    must.require(presence.timeout > lateness, "/presence/timeout", message);
    let mut problems = must.into_problems();
    let of_ranging = |(path, message)| Problem::new(format!("/ranging{path}"), message);
    problems.extend(ranging.problems().into_iter().map(of_ranging));
    problems.extend(marketing.problems().into_iter().map(|problem| problem.under("/marketing")));
    problems.extend(live.problems().into_iter().map(|problem| problem.under("/live")));
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_told_all_at_once() {
        let mut settings = world::Settings::default();
        assert_eq!(problems(&settings), []);
        settings.track.speed_max_mps = f64::NAN;
        settings.presence.enter_probability = 0.4;
        settings.presence.exit_probability = 0.45;
        settings.presence.timeout = Duration::from_secs(600);
        settings.observations.skew_max = Duration::from_secs(90_000);
        settings.live.dismiss_after = Duration::from_secs(5 * 3_600);
        settings.live.stale_after = Duration::ZERO;
        settings.live.urgent_per_hour = 61;
        let paths: Vec<String> = problems(&settings).into_iter().map(|problem| problem.path).collect();
        let expected = [
            "/observations/skew_max",
            "/track/speed_max_mps",
            "/presence/enter_probability",
            "/presence/exit_probability",
            "/presence/timeout",
            "/live/stale_after",
            "/live/dismiss_after",
            "/live/urgent_per_hour",
        ];
        assert_eq!(paths, expected);
    }
}
