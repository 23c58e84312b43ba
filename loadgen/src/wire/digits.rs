//! Numbers and times as text, appended to a body. A generator writes millions of them a second beside the daemon that it
//! measures, and the formatting machinery of the standard library takes twice as long.

use jiff::Timestamp;

/// Writes a whole number.
pub(super) fn whole(body: &mut Vec<u8>, number: i64) {
    if number < 0 {
        body.push(b'-');
    }
    unsigned(body, number.unsigned_abs(), 1);
}

/// Writes a number rounded to so many decimals, at most 9. Its size must be below 9e9.
pub(super) fn fixed(body: &mut Vec<u8>, number: f64, decimals: u32) {
    let unit = 10_u64.pow(decimals);
    let scaled = (number.abs() * unit as f64).round() as u64;
    if number < 0.0 && scaled > 0 {
        body.push(b'-');
    }
    unsigned(body, scaled / unit, 1);
    if decimals > 0 {
        body.push(b'.');
        unsigned(body, scaled % unit, decimals as usize);
    }
}

/// Writes a number with zeros before it up to a width.
fn unsigned(body: &mut Vec<u8>, mut number: u64, width: usize) {
    let mut digits = [b'0'; 20];
    let mut at = digits.len();
    while number > 0 || digits.len() - at < width {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
    }
    body.extend_from_slice(&digits[at..]);
}

/// Writes times as RFC 3339 in UTC. Remembers the last minute, because the pings of a request are of one or two, and the
/// calendar costs seven times as much as the rest of it.
#[derive(Default)]
pub(super) struct Clock {
    minute: Option<i64>,
    /// The minute as `2026-11-22T09:46`.
    text: [u8; 16],
}

impl Clock {
    /// Writes a time, milliseconds since 1970, before the year 10,000.
    pub(super) fn write(&mut self, body: &mut Vec<u8>, at_ms: i64) {
        const MINUTE_MS: i64 = 60_000;
        let minute = at_ms.div_euclid(MINUTE_MS);
        if self.minute != Some(minute) {
            let text = Timestamp::from_second(minute * 60).unwrap_or_default().to_string();
            self.minute = Some(minute);
            self.text.copy_from_slice(&text.as_bytes()[..16]);
        }
        let into_ms = at_ms.rem_euclid(MINUTE_MS) as u64;
        body.extend_from_slice(&self.text);
        body.push(b':');
        unsigned(body, into_ms / 1_000, 2);
        body.push(b'.');
        unsigned(body, into_ms % 1_000, 3);
        body.push(b'Z');
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut body = Vec::new();
        write(&mut body);
        String::from_utf8(body).expect("digits")
    }

    proptest! {
        #[test]
        fn numbers_read_as_what_they_were(number in -1e9..1e9_f64, decimals in 0_u32..=9) {
            let written: f64 = text(|body| fixed(body, number, decimals)).parse().expect("a number");
            prop_assert!((written - number).abs() <= 0.5 / 10_f64.powi(decimals as i32) + 1e-6, "{written}");
        }

        #[test]
        fn whole_numbers_are_as_the_standard_library_writes_them(number in any::<i64>()) {
            prop_assert_eq!(text(|body| whole(body, number)), number.to_string());
        }

        #[test]
        fn times_are_as_the_calendar_writes_them(at_ms in 0_i64..4_000_000_000_000, later_ms in 0_i64..200_000) {
            let mut clock = Clock::default();
            for at_ms in [at_ms, at_ms + later_ms] {
                let time = Timestamp::from_millisecond(at_ms).expect("a time");
                prop_assert_eq!(text(|body| clock.write(body, at_ms)), format!("{time:.3}"));
            }
        }
    }

    #[test]
    fn digits_are_neither_lost_nor_made_up() {
        let cases = [
            (0.0, 1, "0.0"),
            (-0.0, 0, "0"),
            (-0.04, 1, "0.0"),
            (-0.06, 1, "-0.1"),
            (48.8588400, 7, "48.8588400"),
            (-0.0000001, 7, "-0.0000001"),
            (9.96, 1, "10.0"),
            (270.4, 0, "270"),
            (180.0, 9, "180.000000000"),
        ];
        for (number, decimals, expected) in cases {
            assert_eq!(text(|body| fixed(body, number, decimals)), expected);
        }
    }
}
