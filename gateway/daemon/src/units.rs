//! Sizes, times and codes as people write them.

use std::time::Duration;

/// `64MiB`, `1.5G`, `4096`: bytes. Units are powers of 1024, with or without `iB` or `B`.
pub(crate) fn parse_bytes(text: &str) -> Result<u64, String> {
    let (number, unit) = split(text);
    let shift = match unit.to_ascii_lowercase().trim_end_matches('b').trim_end_matches('i') {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        "p" => 50,
        _ => return Err(format!("`{text}` is no size: write for example 512MiB, 10GiB or 1TiB")),
    };
    let number: f64 = number.parse().map_err(|_| format!("`{text}` is no size: write for example 10GiB"))?;
    let bytes = number * (1_u64 << shift) as f64;
    if !bytes.is_finite() || bytes < 0.0 || bytes >= (1_u64 << 60) as f64 {
        return Err(format!("`{text}` is out of range"));
    }
    Ok(bytes as u64)
}

/// `30s`, `500ms`, `2m`, `1h`.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = split(text);
    let seconds = match unit {
        "ms" => 0.001,
        "s" | "" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => return Err(format!("`{text}` is no time: write for example 30s, 500ms or 5m")),
    };
    let number: f64 = number.parse().map_err(|_| format!("`{text}` is no time: write for example 30s"))?;
    Duration::try_from_secs_f64(number * seconds)
        .ok()
        .filter(|time| *time <= Duration::from_secs(7 * 24 * 3600))
        .ok_or_else(|| format!("`{text}` is out of range (at most a week)"))
}

fn split(text: &str) -> (&str, &str) {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    (text[..end].trim(), text[end..].trim())
}

/// `1.5 GiB`.
pub(crate) fn show_bytes(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    match unit {
        0 => format!("{bytes} B"),
        _ if value >= 100.0 => format!("{value:.0} {}", UNITS[unit]),
        _ => format!("{value:.1} {}", UNITS[unit]),
    }
}

/// `12 us`, `1.2 ms`, `3.4 s`: how long something took.
pub(crate) fn show_micros(us: u64) -> String {
    match us {
        0..1000 => format!("{us} us"),
        1000..1_000_000 => format!("{:.1} ms", us as f64 / 1e3),
        _ => format!("{:.1} s", us as f64 / 1e6),
    }
}

/// `45 s`, `3 min 20 s`, `2 h 5 min`, `3 d 4 h`.
pub(crate) fn show_seconds(seconds: f64) -> String {
    let whole = seconds.max(0.0).round() as u64;
    match whole {
        0..60 => format!("{whole} s"),
        60..3600 => format!("{} min {} s", whole / 60, whole % 60),
        3600..86_400 => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
        _ => format!("{} d {} h", whole / 86_400, whole % 86_400 / 3600),
    }
}

/// An erasure code, `K+M`: K cells of data and M of parity, any K of which give back the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Code {
    pub(crate) data: u8,
    pub(crate) parity: u8,
}

impl Code {
    /// Drives it needs at least: every cell of a row on its own.
    pub(crate) const fn width(self) -> usize {
        self.data as usize + self.parity as usize
    }

    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        use objstore_erasure::{DATA_CELLS_MAX, PARITY_CELLS_MAX};
        let wrong = || {
            format!(
                "`{text}` is no code: write K+M with K from 1 to {DATA_CELLS_MAX} and M from 0 to {PARITY_CELLS_MAX}, for example 4+2"
            )
        };
        let (data, parity) = text.split_once('+').ok_or_else(wrong)?;
        let plain = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        if !plain(data) || !plain(parity) {
            return Err(wrong());
        }
        let (data, parity): (u8, u8) = (data.parse().map_err(|_| wrong())?, parity.parse().map_err(|_| wrong())?);
        let fits = (1..=DATA_CELLS_MAX).contains(&usize::from(data)) && usize::from(parity) <= PARITY_CELLS_MAX;
        fits.then_some(Self { data, parity }).ok_or_else(wrong)
    }
}

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}+{}", self.data, self.parity)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_and_without_units() {
        assert_eq!(parse_bytes("4096"), Ok(4096));
        assert_eq!(parse_bytes("64MiB"), Ok(64 << 20));
        assert_eq!(parse_bytes("1.5G"), Ok(3 << 29));
        assert_eq!(parse_bytes("10 gb"), Ok(10 << 30));
        for bad in ["", "x", "12 parsecs", "-1", "1e400", "99999999PiB"] {
            assert!(parse_bytes(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn times_are_read_and_absurd_ones_refused() {
        assert_eq!(parse_duration("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_duration("2m"), Ok(Duration::from_secs(120)));
        for bad in ["", "soon", "9999999h", "-5s"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn codes_outside_the_limits_are_refused() {
        assert_eq!(Code::parse("4+2"), Ok(Code { data: 4, parity: 2 }));
        assert_eq!(Code::parse("16+4").map(Code::width), Ok(20));
        for bad in ["0+1", "17+1", "4+5", "4", "4+", "+2", "-1+2", "4+2+1", "four+two", " 4+2"] {
            assert!(Code::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_and_times_are_shown_for_people() {
        assert_eq!(show_bytes(999), "999 B");
        assert_eq!(show_bytes(3 << 29), "1.5 GiB");
        assert_eq!([12, 1234, 3_400_000].map(show_micros), ["12 us", "1.2 ms", "3.4 s"]);
        assert_eq!(show_seconds(200.0), "3 min 20 s");
    }
}
