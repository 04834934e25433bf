//! Times and sizes as people write them.

use std::time::Duration;

use indicatif::HumanCount;

/// No time may be longer, and no size larger.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
const LARGEST: usize = 256 << 20;

const TIMES: &[(&str, f64)] = &[
    ("ns", 1e-9),
    ("us", 1e-6),
    ("ms", 1e-3),
    ("s", 1.0),
    ("min", 60.0),
    ("m", 60.0),
    ("h", 3600.0),
];
const SIZES: &[(&str, f64)] =
    &[("", 1.0), ("B", 1.0), ("k", 1024.0), ("K", 1024.0), ("M", 1048576.0), ("G", 1073741824.0)];

/// Reads `50ms`, `1.5s`, `0`.
pub(super) fn read_time(text: &str) -> Result<Duration, String> {
    let seconds = match text {
        "0" => 0.0,
        _ => read(text, TIMES).ok_or("a time is written as 500us, 50ms, 1.5s, 10m, 1h or 0")?,
    };
    if seconds > LONGEST.as_secs_f64() {
        return Err("no time may be longer than 24h".into());
    }
    Ok(Duration::from_secs_f64(seconds))
}

/// Reads `1M`, `64k`, `100`, `0`. A k is 1024.
pub(super) fn read_size(text: &str) -> Result<usize, String> {
    let bytes = read(text, SIZES).ok_or("a size is written as 100, 64k, 1M or 0; k is 1024")?;
    if bytes > LARGEST as f64 {
        return Err("no item may have more than 256M".into());
    }
    Ok(bytes as usize)
}

/// A number that is not negative, and one of the units directly behind it.
fn read(text: &str, units: &[(&str, f64)]) -> Option<f64> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    Some(number.parse::<f64>().ok()? * factor)
}

/// A time with two or three digits that count: `0.25 s`, `17 ms`.
pub(super) fn time(seconds: f64) -> String {
    let (number, unit) = match seconds {
        0.0 => return String::from("0"),
        ..0.9995e-3 => (seconds * 1e6, "us"),
        ..0.9995 => (seconds * 1e3, "ms"),
        ..99.5 => (seconds, "s"),
        ..5970.0 => (seconds / 60.0, "min"),
        _ => (seconds / 3600.0, "h"),
    };
    match number {
        ..9.95 => format!("{:.1} {unit}", number).replace(".0 ", " "),
        _ => format!("{number:.0} {unit}"),
    }
}

/// A size: `64 KiB`.
pub(super) fn size(bytes: usize) -> String {
    let (number, unit) = match bytes {
        0..1024 => (bytes as f64, "bytes"),
        1024..1048576 => (bytes as f64 / 1024.0, "KiB"),
        1048576..1073741824 => (bytes as f64 / 1048576.0, "MiB"),
        _ => (bytes as f64 / 1073741824.0, "GiB"),
    };
    match number {
        ..9.95 => format!("{:.1} {unit}", number).replace(".0 ", " "),
        _ => format!("{number:.0} {unit}"),
    }
}

/// A ratio, with two digits that count at the least: `1.04`, `2.3`, `38`.
pub(super) fn times(ratio: f64) -> String {
    match ratio {
        ..1.995 => format!("{ratio:.2}"),
        ..9.95 => format!("{ratio:.1}"),
        _ => count(ratio.round() as usize),
    }
}

/// A number of items, grouped by thousands: `1,200 items`.
pub(super) fn count(number: usize) -> String {
    HumanCount(number as u64).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_write_them() {
        for (text, micros) in [
            ("50ms", 50_000),
            ("2s", 2_000_000),
            ("1.5s", 1_500_000),
            ("500us", 500),
            ("10m", 600_000_000),
            ("1h", 3_600_000_000),
            ("0", 0),
            ("0ms", 0),
            (".5ms", 500),
        ] {
            assert_eq!(read_time(text), Ok(Duration::from_micros(micros)), "{text}");
        }
        for text in
            ["", "50", "ms", "-5ms", "5 ms", "1e3s", "5.5.5s", "50MS", "25h", "ten", "1m30s"]
        {
            assert!(read_time(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_are_read_as_people_write_them() {
        for (text, bytes) in [
            ("0", 0),
            ("100", 100),
            ("64k", 65536),
            ("64K", 65536),
            ("1M", 1 << 20),
            ("1.5k", 1536),
        ] {
            assert_eq!(read_size(text), Ok(bytes), "{text}");
        }
        for text in ["", "M", "-1", "1T", "257M", "1 M", "1Mb"] {
            assert!(read_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn amounts_are_written_with_the_digits_that_count() {
        for (seconds, text) in [
            (0.0, "0"),
            (0.000_015, "15 us"),
            (0.005, "5 ms"),
            (0.0552, "55 ms"),
            (0.0014, "1.4 ms"),
            (0.9996, "1 s"),
            (5.52, "5.5 s"),
            (60.0, "60 s"),
            (150.0, "2.5 min"),
            (36000.0, "10 h"),
        ] {
            assert_eq!(time(seconds), text);
        }
        assert_eq!(size(100), "100 bytes");
        assert_eq!(size(65536), "64 KiB");
        assert_eq!(size(1 << 20), "1 MiB");
        assert_eq!([1.04, 2.34, 38.1].map(times), ["1.04", "2.3", "38"]);
        assert_eq!(count(999), "999");
        assert_eq!(count(100_000), "100,000");
    }
}
