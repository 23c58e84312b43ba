//! Sizes in bytes with units, in files: `"64KiB"`, `"1.5 MB"`, `"200B"`.

use serde::{Deserialize, Deserializer, Serializer, de::Error as _, ser::Error as _};

/// Binary units first, so that a size is written with the largest one that divides it.
const UNITS: [(&str, u64); 10] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("KB", 1_000),
    ("B", 1),
];

/// Reads a size with a unit, in bytes.
///
/// # Errors
/// If it has no unit, or is negative, too large or no whole number of bytes.
pub fn parse(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is not a size with a unit, such as \"200B\", \"64KiB\" or \"1MB\"");
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
    let (number, unit) = (&text[..end], text[end..].trim());
    let (_, factor) = UNITS.into_iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(factor).ok_or_else(wrong);
    }
    let bytes = number.parse::<f64>().map_err(|_| wrong())? * factor as f64;
    // Above 2^53 a float no longer counts single bytes.
    if bytes.fract() == 0.0 && bytes < (1_u64 << 53) as f64 { Ok(bytes as u64) } else { Err(wrong()) }
}

/// Writes a size so that [`parse`] reads it back.
pub fn format(bytes: u64) -> String {
    let (unit, factor) =
        UNITS.into_iter().find(|(_, factor)| bytes >= *factor && bytes.is_multiple_of(*factor)).unwrap_or(("B", 1));
    format!("{}{unit}", bytes / factor)
}

/// For `#[serde(with)]`, for `u64` and `usize`.
///
/// # Errors
/// Those of the serializer.
pub fn serialize<T: Copy + TryInto<u64>, S: Serializer>(bytes: &T, serializer: S) -> Result<S::Ok, S::Error> {
    let bytes = (*bytes).try_into().map_err(|_| S::Error::custom("the size does not fit into 64 bits"))?;
    serializer.serialize_str(&format(bytes))
}

/// For `#[serde(with)]`, for `u64` and `usize`.
///
/// # Errors
/// If the text is no size with a unit, or does not fit.
pub fn deserialize<'de, T: TryFrom<u64>, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
    let bytes = parse(&text).map_err(D::Error::custom)?;
    T::try_from(bytes).map_err(|_| D::Error::custom(format!("{text:?} is too large")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        assert_eq!(parse("64KiB"), Ok(65_536));
        assert_eq!(parse("1.5 MB"), Ok(1_500_000));
        assert_eq!(parse("0B"), Ok(0));
        for wrong in ["64", "KiB", "-1B", "1.5B", "1 kib", "99999999TiB", "1.2.3MB", ""] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        for bytes in [0, 1, 1_000, 1_024, 65_536, 1_500_000, 3 << 30, u64::MAX] {
            assert_eq!(parse(&format(bytes)), Ok(bytes), "{}", format(bytes));
        }
        assert_eq!(format(65_536), "64KiB");
    }
}
