//! Numbers and times as text, appended to a body. A generator writes millions of them a second beside the daemon that it
//! measures, and the formatting machinery of the standard library takes several times as long.

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

/// Writes times as RFC 3339 in UTC. Remembers the last minute, because the pings of a request are of one or two.
#[derive(Default)]
pub(super) struct Clock {
    minute: Option<i64>,
    text: [u8; 16],
}

impl Clock {
    /// Writes a time, milliseconds since 1970.
    pub(super) fn write(&mut self, body: &mut Vec<u8>, at_ms: i64) {
        const MINUTE_MS: i64 = 60_000;
        let minute = at_ms.div_euclid(MINUTE_MS);
        if self.minute != Some(minute) {
            let text = jiff::Timestamp::from_second(minute * 60).unwrap_or_default().to_string();
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
