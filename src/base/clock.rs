//! Wall-clock time as text (RFC 3339 and that of HTTP) and as milliseconds since the Unix epoch,
//! and the Gregorian calendar behind it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Milliseconds since the Unix epoch; 0 for a clock set before it.
pub fn unix_millis(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// RFC 3339 text with milliseconds, such as `2026-07-28T09:30:00.123Z`.
pub fn rfc3339(time: SystemTime) -> String {
    rfc3339_millis(unix_millis(time))
}

/// The current time by [`rfc3339`].
pub fn now_rfc3339() -> String {
    rfc3339(SystemTime::now())
}

/// The same at a place whose clocks are ahead of UTC by `offset_seconds`, such as
/// `2026-07-28T11:30:00.123+02:00`.
pub fn rfc3339_at(time: SystemTime, offset_seconds: i32) -> String {
    let local = unix_millis(time).saturating_add_signed(i64::from(offset_seconds) * 1000);
    let text = rfc3339_millis(local);
    let sign = if offset_seconds < 0 { '-' } else { '+' };
    let minutes = offset_seconds.unsigned_abs() / 60;
    let (hours, minutes) = (minutes / 60, minutes % 60);
    format!(
        "{}{sign}{hours:02}:{minutes:02}",
        text.trim_end_matches('Z')
    )
}

/// The moment that an RFC 3339 text names, to the second.
pub fn parse_rfc3339(text: &str) -> Option<SystemTime> {
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<u64>().ok();
    let mark = |at: usize, mark: &str| text.get(at..=at) == Some(mark);
    if !(mark(4, "-") && mark(7, "-") && mark(13, ":") && mark(16, ":")) {
        return None;
    }
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    if !(1970..=9999).contains(&year)
        || !(1..=12).contains(&month)
        || !(1..=31).contains(&day)
        || hour > 23
        || minute > 59
    {
        return None;
    }
    let (days, seconds) = (days_from_civil(year, month, day), second.min(60));
    let local = i64::try_from(((days * 24 + hour) * 60 + minute) * 60 + seconds).ok()?;
    let zone = text
        .get(19..)?
        .trim_start_matches(|c: char| c == '.' || c.is_ascii_digit());
    let ahead = match zone.get(..1)? {
        "Z" | "z" => 0,
        sign @ ("+" | "-") => {
            let hours = zone.get(1..3)?.parse::<i64>().ok()?;
            let minutes = zone.get(4..6)?.parse::<i64>().ok()?;
            let seconds = (hours * 60 + minutes) * 60;
            if sign == "-" { -seconds } else { seconds }
        }
        _ => return None,
    };
    let seconds = u64::try_from(local.checked_sub(ahead)?).ok()?;
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

fn rfc3339_millis(millis: u64) -> String {
    let seconds = millis / 1000;
    let (year, month, day) = civil_from_days(seconds / 86_400);
    let of_day = seconds % 86_400;
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:03}Z",
        of_day / 3600,
        of_day / 60 % 60,
        of_day % 60,
        millis % 1000
    )
}

/// The text of a `Date` field, such as `Tue, 28 Jul 2026 09:30:00 GMT` (RFC 9110 §5.6.7).
pub fn http_date(time: SystemTime) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let seconds = unix_millis(time) / 1000;
    let days = seconds / 86_400;
    let (year, month, day) = civil_from_days(days);
    let name = |names: &[&'static str], index: u64| {
        let found = usize::try_from(index)
            .ok()
            .and_then(|index| names.get(index));
        found.copied().unwrap_or_default()
    };
    let of_day = seconds % 86_400;
    format!(
        "{}, {day:02} {} {year:04} {:02}:{:02}:{:02} GMT",
        name(&DAYS, days % 7),
        name(&MONTHS, month - 1),
        of_day / 3600,
        of_day / 60 % 60,
        of_day % 60
    )
}

/// Gregorian date (year, month, day) of a day counted from 1970-01-01, by walking 400-year eras
/// that start on 1 March.
pub(super) fn civil_from_days(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 {
        march_month + 3
    } else {
        march_month - 9
    };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

/// The opposite, for years from 1970 on.
pub(super) fn days_from_civil(year: u64, month: u64, day: u64) -> u64 {
    let year = year - u64::from(month <= 2);
    let (era, year_of_era) = (year / 400, year % 400);
    let march_month = (month + 9) % 12;
    let day_of_year = (153 * march_month + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    (era * 146_097 + day_of_era).saturating_sub(719_468)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_moments() {
        let check = |text: &str, seconds: Option<u64>| {
            let expected = seconds.map(|seconds| UNIX_EPOCH + Duration::from_secs(seconds));
            assert_eq!(parse_rfc3339(text), expected, "{text}");
        };
        check("1970-01-01T00:00:00Z", Some(0));
        check("2026-07-28T09:30:00.123456789Z", Some(1_785_231_000));
        check("2026-07-28T11:30:00+02:00", Some(1_785_231_000));
        check("2026-07-28T04:00:00.5-05:30", Some(1_785_231_000));
        check("2024-02-29T12:00:00Z", Some(1_709_208_000));
        for text in [
            "",
            "2026",
            "2026-07-28T09:30:00",
            "1969-12-31T00:00:00Z",
            "ä026-07-28T",
        ] {
            check(text, None);
        }
        check("9999-99-99T99:99:99Z", None);
        check("1970-01-01T00:00:00+01:00", None);
    }

    #[test]
    fn dates_around_leap_days_and_centuries() {
        let check = |millis, text: &str| assert_eq!(rfc3339_millis(millis), text);
        check(0, "1970-01-01T00:00:00.000Z");
        check(951_782_399_999, "2000-02-28T23:59:59.999Z");
        check(951_782_400_000, "2000-02-29T00:00:00.000Z");
        check(1_709_251_199_000, "2024-02-29T23:59:59.000Z");
        check(4_107_542_400_000, "2100-03-01T00:00:00.000Z");
    }

    #[test]
    fn dates_of_http() {
        let check = |seconds, text: &str| {
            assert_eq!(http_date(UNIX_EPOCH + Duration::from_secs(seconds)), text);
        };
        check(0, "Thu, 01 Jan 1970 00:00:00 GMT");
        check(784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT");
        check(951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT");
        check(1_798_761_599, "Thu, 31 Dec 2026 23:59:59 GMT");
    }

    #[test]
    fn days_and_dates_are_each_other_s_opposite() {
        for day in (0..60_000).step_by(7).chain([59, 11_016, 47_540]) {
            let (year, month, of_month) = civil_from_days(day);
            assert_eq!(days_from_civil(year, month, of_month), day);
        }
    }

    #[test]
    fn times_away_from_utc() {
        let noon = UNIX_EPOCH + Duration::from_millis(1_785_240_000_123);
        let check = |offset, text: &str| assert_eq!(rfc3339_at(noon, offset), text);
        check(0, "2026-07-28T12:00:00.123+00:00");
        check(20_700, "2026-07-28T17:45:00.123+05:45");
        check(-12_600, "2026-07-28T08:30:00.123-03:30");
    }
}
