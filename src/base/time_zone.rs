//! How far a place's clocks are from UTC: the machine's own database of time zones, in TZif files
//! (RFC 8536) of version 2 or newer. We carry none ourselves.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::clock::{civil_from_days, days_from_civil};

/// Where the database lies.
pub const FOLDER: &str = "/usr/share/zoneinfo";
/// Names are shorter; the longest one has 32 bytes.
pub const MAX_NAME_BYTES: usize = 64;
/// Real files have a few thousand.
const MAX_FILE_BYTES: u64 = 65_536;
const DAY: i64 = 86_400;
const HOUR: i64 = 3600;

/// Why there is no offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ZoneError {
    /// The machine has no database of time zones.
    NoDatabase,
    /// No zone has that name, or what lies there is no zone.
    Unknown,
}

/// Seconds that clocks of the zone with that IANA name are ahead of UTC, at a time in seconds since
/// the Unix epoch. UTC itself needs no database.
///
/// # Errors
/// [`ZoneError`].
pub fn offset_of(folder: &Path, name: &str, at: i64) -> Result<i32, ZoneError> {
    if matches!(name, "UTC" | "Etc/UTC") {
        return Ok(0);
    }
    if !is_name(name) {
        return Err(ZoneError::Unknown);
    }
    if !folder.is_dir() {
        return Err(ZoneError::NoDatabase);
    }
    let mut bytes = Vec::new();
    File::open(folder.join(name))
        .and_then(|file| file.take(MAX_FILE_BYTES).read_to_end(&mut bytes))
        .map_err(|_| ZoneError::Unknown)?;
    offset_at(&bytes, at).ok_or(ZoneError::Unknown)
}

/// Whether it is a name that leads nowhere but into the database: parts of letters, digits, `_`,
/// `+` and `-`, the first with a capital. (In lower case there are copies by other rules.)
fn is_name(name: &str) -> bool {
    let is_part = |part: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_+-".contains(&byte);
        !part.is_empty() && part.bytes().all(plain)
    };
    name.len() <= MAX_NAME_BYTES
        && name.starts_with(|first: char| first.is_ascii_uppercase())
        && name.split('/').all(is_part)
}

/// The offset that a TZif file gives for a time; `None` for what is none.
fn offset_at(file: &[u8], at: i64) -> Option<i32> {
    let (_, rest) = Block::read(file, 4)?;
    let (block, rest) = Block::read(rest, 8)?;
    let footer = rest.strip_prefix(b"\n")?;
    let end = footer.iter().position(|byte| *byte == b'\n')?;
    let footer = footer.get(..end)?;
    let passed = block.passed(at)?;
    if passed == block.times.len() / 8 && !footer.is_empty() {
        return Rule::parse(std::str::from_utf8(footer).ok()?)?.offset_at(at);
    }
    let kind = match passed.checked_sub(1) {
        Some(last) => *block.kinds.get(last)?,
        None => 0,
    };
    block.offset(kind)
}

/// One data block (RFC 8536, section 3.2): times of changes, what each changes to, and what that
/// means.
struct Block<'a> {
    times: &'a [u8],
    kinds: &'a [u8],
    types: &'a [u8],
}

impl<'a> Block<'a> {
    /// A block with its header, and what follows; times have `width` bytes.
    fn read(file: &'a [u8], width: usize) -> Option<(Self, &'a [u8])> {
        let (header, rest) = file.split_at_checked(44)?;
        if !header.starts_with(b"TZif") || *header.get(4)? < b'2' {
            return None;
        }
        let count = |index: usize| {
            let bytes = header.get(20 + 4 * index..24 + 4 * index)?;
            usize::try_from(u32::from_be_bytes(bytes.try_into().ok()?)).ok()
        };
        let (is_utc, is_std, leaps) = (count(0)?, count(1)?, count(2)?);
        let (times, types, chars) = (count(3)?, count(4)?, count(5)?);
        let (times, rest_of_block) = rest.split_at_checked(times.checked_mul(width)?)?;
        let (kinds, rest_of_block) = rest_of_block.split_at_checked(times.len() / width)?;
        let (types, rest_of_block) = rest_of_block.split_at_checked(types.checked_mul(6)?)?;
        let leaps = leaps.checked_mul(width + 4)?;
        let others = [chars, leaps, is_std, is_utc];
        let others = others.into_iter().try_fold(0_usize, usize::checked_add)?;
        let (_, rest) = rest_of_block.split_at_checked(others)?;
        let block = Self {
            times,
            kinds,
            types,
        };
        Some((block, rest))
    }

    /// How many of the changes, which are in order, have passed.
    fn passed(&self, at: i64) -> Option<usize> {
        let mut passed = 0;
        for time in self.times.chunks_exact(8) {
            if i64::from_be_bytes(time.try_into().ok()?) > at {
                break;
            }
            passed += 1;
        }
        Some(passed)
    }

    fn offset(&self, kind: u8) -> Option<i32> {
        let bytes = self.types.get(6 * usize::from(kind)..)?.get(..4)?;
        Some(i32::from_be_bytes(bytes.try_into().ok()?))
    }
}

/// What holds after the last change of a file (RFC 8536, section 3.3): one offset, or two and the
/// days of the year on which they alternate.
struct Rule {
    standard: i64,
    summer: Option<Summer>,
}

struct Summer {
    offset: i64,
    start: Change,
    end: Change,
}

/// The `week`th (5: last) `weekday` (0: Sunday) of a month, and seconds from its start.
struct Change {
    month: u64,
    week: u64,
    weekday: u64,
    seconds: i64,
}

impl Rule {
    /// Reads such as `CET-1CEST,M3.5.0,M10.5.0/3`. Days by their number in the year, which no zone
    /// uses, are not read.
    fn parse(text: &str) -> Option<Self> {
        let rest = after_name(text)?;
        let (standard, rest) = offset(rest)?;
        if rest.is_empty() {
            let summer = None;
            return Some(Self { standard, summer });
        }
        let rest = after_name(rest)?;
        let (ahead, rest) = match rest.starts_with(',') {
            true => (standard + HOUR, rest),
            false => offset(rest)?,
        };
        let mut changes = rest.strip_prefix(',')?.split(',').map(Change::parse);
        let summer = Summer {
            offset: ahead,
            start: changes.next()??,
            end: changes.next()??,
        };
        changes.next().is_none().then_some(Self {
            standard,
            summer: Some(summer),
        })
    }

    fn offset_at(&self, at: i64) -> Option<i32> {
        let offset = match &self.summer {
            Some(summer) if self.is_summer(summer, at)? => summer.offset,
            _ => self.standard,
        };
        i32::try_from(offset).ok()
    }

    fn is_summer(&self, summer: &Summer, at: i64) -> Option<bool> {
        let days = at.checked_add(self.standard)?.div_euclid(DAY);
        let (year, ..) = civil_from_days(u64::try_from(days).ok()?);
        // Each change is told by the clocks that it ends.
        let start = summer.start.in_year(year)? - self.standard;
        let end = summer.end.in_year(year)? - summer.offset;
        Some(match start < end {
            true => (start..end).contains(&at),
            false => !(end..start).contains(&at),
        })
    }
}

impl Change {
    fn parse(text: &str) -> Option<Self> {
        let (day, time) = text.split_once('/').unwrap_or((text, "2"));
        let mut parts = day.strip_prefix('M')?.split('.');
        let mut part = |range: std::ops::RangeInclusive<u64>| {
            let number = parts.next()?.parse().ok()?;
            range.contains(&number).then_some(number)
        };
        let (month, week, weekday) = (part(1..=12)?, part(1..=5)?, part(0..=6)?);
        let (seconds, rest) = clock(time)?;
        rest.is_empty().then_some(Self {
            month,
            week,
            weekday,
            seconds,
        })
    }

    /// Seconds since the epoch, by the clocks of the place.
    fn in_year(&self, year: u64) -> Option<i64> {
        let first = days_from_civil(year, self.month, 1);
        // 1970-01-01 was a Thursday.
        let to_weekday = (self.weekday + 7 - (first + 4) % 7) % 7;
        let mut day = first + to_weekday + 7 * (self.week - 1);
        let next_month = match self.month {
            12 => days_from_civil(year + 1, 1, 1),
            month => days_from_civil(year, month + 1, 1),
        };
        if day >= next_month {
            day -= 7;
        }
        Some(i64::try_from(day).ok()? * DAY + self.seconds)
    }
}

/// What follows a zone's abbreviation: letters, or anything within angle brackets.
fn after_name(text: &str) -> Option<&str> {
    if let Some(quoted) = text.strip_prefix('<') {
        return quoted.split_once('>').map(|(_, rest)| rest);
    }
    let rest = text.trim_start_matches(|c: char| c.is_ascii_alphabetic());
    (rest.len() < text.len()).then_some(rest)
}

/// Seconds ahead of UTC, which stand there with the opposite sign, and what follows.
fn offset(text: &str) -> Option<(i64, &str)> {
    clock(text).map(|(seconds, rest)| (-seconds, rest))
}

/// `[+-]hh[:mm[:ss]]` as seconds, and what follows.
fn clock(text: &str) -> Option<(i64, &str)> {
    let (sign, text) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let is_clock = |c: char| c.is_ascii_digit() || c == ':';
    let end = text.find(|c| !is_clock(c)).unwrap_or(text.len());
    let (digits, rest) = text.split_at_checked(end)?;
    let (mut seconds, mut unit) = (0, HOUR);
    for part in digits.split(':') {
        if unit == 0 || part.len() > 3 {
            return None;
        }
        seconds += part.parse::<i64>().ok()? * unit;
        unit /= 60;
    }
    Some((sign * seconds, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-01-15, 2026-07-15 and the hours around both changes of Berlin in 2026.
    const WINTER: i64 = 1_768_435_200;
    const SUMMER: i64 = 1_784_073_600;

    fn rule(text: &str, at: i64, hours: f64) {
        let found = Rule::parse(text).and_then(|rule| rule.offset_at(at));
        assert_eq!(found.map(f64::from), Some(hours * 3600.0), "{text} {at}");
    }

    #[test]
    fn rules_of_the_year() {
        let berlin = "CET-1CEST,M3.5.0,M10.5.0/3";
        rule(berlin, WINTER, 1.0);
        rule(berlin, SUMMER, 2.0);
        // 2026-03-29T01:00:00Z and 2026-10-25T01:00:00Z.
        rule(berlin, 1_774_746_000 - 1, 1.0);
        rule(berlin, 1_774_746_000, 2.0);
        rule(berlin, 1_792_890_000 - 1, 2.0);
        rule(berlin, 1_792_890_000, 1.0);
        // 2026-10-03T16:00:00Z.
        let sydney = "AEST-10AEDT,M10.1.0,M4.1.0/3";
        rule(sydney, WINTER, 11.0);
        rule(sydney, SUMMER, 10.0);
        rule(sydney, 1_791_043_200 - 1, 10.0);
        rule(sydney, 1_791_043_200, 11.0);
        rule("EST5EDT,M3.2.0,M11.1.0", SUMMER, -4.0);
        rule("<-02>2<-01>,M3.5.0/-1,M10.5.0/0", SUMMER, -1.0);
        rule(
            "<+1245>-12:45<+1345>,M9.5.0/2:45,M4.1.0/3:45",
            WINTER,
            13.75,
        );
        rule("IST-1GMT0,M10.5.0,M3.5.0/1", WINTER, 0.0);
        rule("<+0530>-5:30", WINTER, 5.5);
    }

    #[test]
    fn what_is_no_rule() {
        for text in [
            "",
            "CET",
            "1",
            "CET-",
            "CET-1CEST",
            "CET-1CEST,M3.5.0",
            "CET-1CEST,M3.5.0,J300",
            "CET-1CEST,M13.5.0,M10.5.0",
            "CET-1CEST,M3.6.0,M10.5.0",
            "CET-1CEST,M3.5.0,M10.5.0,",
            "<CET-1",
            "CET-1:1:1:1",
            "CET-9999999999999999999",
        ] {
            assert!(Rule::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn names_lead_nowhere_else() {
        for name in [
            "Europe/Berlin",
            "America/Argentina/La_Rioja",
            "Etc/GMT+1",
            "W-SU",
        ] {
            assert!(is_name(name), "{name}");
        }
        for name in [
            "",
            "../etc/passwd",
            "Europe/../Berlin",
            "/etc/passwd",
            "Europe//Berlin",
            "Europe/",
            "posix/UTC",
            "localtime",
            "Europe/Berlin\0",
            "Европа",
            "A.b",
            &"A".repeat(65),
        ] {
            assert!(!is_name(name), "{name:?}");
        }
        let nowhere = Path::new("/nonexistent");
        assert_eq!(offset_of(nowhere, "UTC", 0), Ok(0));
        assert_eq!(
            offset_of(nowhere, "Europe/Berlin", 0),
            Err(ZoneError::NoDatabase)
        );
    }

    /// A file of two changes and a rule.
    fn file(footer: &str) -> Vec<u8> {
        let header = |counts: [u32; 6]| {
            let mut bytes = b"TZif2".to_vec();
            bytes.extend([0; 15]);
            counts
                .iter()
                .for_each(|count| bytes.extend(count.to_be_bytes()));
            bytes
        };
        let mut bytes = header([0, 0, 0, 0, 1, 1]);
        bytes.extend([0; 7]);
        bytes.extend(header([0, 0, 1, 2, 3, 4]));
        [100_i64, 200]
            .iter()
            .for_each(|time| bytes.extend(time.to_be_bytes()));
        bytes.extend([2, 1]);
        for offset in [60_i32, 120, -180] {
            bytes.extend(offset.to_be_bytes());
            bytes.extend([0, 0]);
        }
        bytes.extend(b"ABC\0");
        bytes.extend([0; 12]);
        bytes.extend(format!("\n{footer}\n").bytes());
        bytes
    }

    #[test]
    fn changes_come_before_the_rule() {
        let check = |footer, at, expected| assert_eq!(offset_at(&file(footer), at), expected);
        check("EET-2", 99, Some(60));
        check("EET-2", 100, Some(-180));
        check("EET-2", 199, Some(-180));
        check("EET-2", 200, Some(7200));
        check("", 200, Some(120));
        check("EET", 200, None);
    }

    #[test]
    fn broken_files_are_none() {
        let whole = file("EET-2");
        for length in 0..whole.len() {
            assert_eq!(offset_at(&whole[..length], 300), None, "{length}");
        }
        for at in 0..whole.len() {
            let mut broken = whole.clone();
            broken[at] = 0xff;
            let _ = offset_at(&broken, 150);
        }
    }
}
