//! Numbers as JSON means them: decimal, so that 0.3 is a multiple of 0.1 and 1 equals 1.0. Nothing
//! else.

use std::cmp::Ordering;
use std::fmt;

use serde_json::Number;

/// Sign, digits without trailing zeros, and a power of ten. Equal numbers are equal values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Decimal {
    negative: bool,
    digits: u64,
    exponent: i32,
}

/// 2^64: floats below it that are whole have their exact value; others their shortest decimal text.
const FIRST_BEYOND_U64: f64 = 18_446_744_073_709_551_616.0;

impl Decimal {
    fn new(negative: bool, mut digits: u64, mut exponent: i32) -> Self {
        if digits == 0 {
            return Self {
                negative: false,
                digits,
                exponent: 0,
            };
        }
        while digits.is_multiple_of(10) {
            digits /= 10;
            exponent += 1;
        }
        Self {
            negative,
            digits,
            exponent,
        }
    }

    /// The value of a JSON number.
    pub(super) fn of(number: &Number) -> Self {
        if let Some(whole) = number.as_u64() {
            return Self::new(false, whole, 0);
        }
        if let Some(whole) = number.as_i64() {
            return Self::new(whole < 0, whole.unsigned_abs(), 0);
        }
        Self::of_float(number.as_f64().unwrap_or(0.0))
    }

    fn of_float(float: f64) -> Self {
        let magnitude = float.abs();
        let text = if magnitude.fract() == 0.0 && magnitude < FIRST_BEYOND_U64 {
            format!("{magnitude:.0}")
        } else {
            format!("{magnitude:e}")
        };
        let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        // At most 17 digits before an exponent, at most 20 without one: neither parse can fail.
        let digits = format!("{whole}{fraction}").parse().unwrap_or(u64::MAX);
        let shift = i32::try_from(fraction.len()).unwrap_or(0);
        Self::new(
            float.is_sign_negative(),
            digits,
            exponent.parse().unwrap_or(0) - shift,
        )
    }

    /// Whether there is nothing behind the decimal point.
    pub(super) fn is_integer(self) -> bool {
        self.exponent >= 0
    }

    /// Whether it is above zero.
    pub(super) fn is_positive(self) -> bool {
        !self.negative && self.digits > 0
    }

    /// The value as a count; `u64::MAX` stands for everything above. `None` where it is negative or
    /// not whole.
    pub(super) fn count(self) -> Option<u64> {
        if self.negative || !self.is_integer() {
            return None;
        }
        let scale = u32::try_from(self.exponent)
            .ok()
            .and_then(|exponent| 10u64.checked_pow(exponent))
            .unwrap_or(u64::MAX);
        Some(self.digits.saturating_mul(scale))
    }

    /// Whether this is `divisor` times a whole number; `divisor` is above zero.
    pub(super) fn is_multiple_of(self, divisor: Self) -> bool {
        let (digits, unit) = (u128::from(self.digits), u128::from(divisor.digits));
        let shift = self.exponent - divisor.exponent;
        if let Some(scale) = u32::try_from(-i64::from(shift)).ok().filter(|&k| k > 0) {
            // A divisor too large for 128 bits is above all digits, and goes into zero only.
            let scaled = 10u128
                .checked_pow(scale)
                .and_then(|power| power.checked_mul(unit));
            return digits == 0 || scaled.is_some_and(|scaled| digits.is_multiple_of(scaled));
        }
        let mut rest = digits % unit;
        for _ in 0..shift {
            if rest == 0 {
                break;
            }
            rest = rest * 10 % unit;
        }
        rest == 0
    }

    /// The power of ten of the first digit.
    fn order(self) -> i64 {
        i64::from(self.digits.checked_ilog10().unwrap_or(0)) + i64::from(self.exponent)
    }

    fn compare_magnitudes(self, other: Self) -> Ordering {
        if self.digits == 0 || other.digits == 0 {
            return self.digits.cmp(&other.digits);
        }
        self.order().cmp(&other.order()).then_with(|| {
            // Of one order, so at most 20 digits each once the exponents are the same.
            let lowest = self.exponent.min(other.exponent);
            let align = |number: Self| {
                let shift = number.exponent.abs_diff(lowest);
                u128::from(number.digits).saturating_mul(10u128.saturating_pow(shift))
            };
            align(self).cmp(&align(other))
        })
    }
}

impl Ord for Decimal {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self.negative, other.negative) {
            (false, true) => Ordering::Greater,
            (true, false) => Ordering::Less,
            (false, false) => self.compare_magnitudes(*other),
            (true, true) => other.compare_magnitudes(*self),
        }
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// One text for one value: digits and power of ten, as in `-125e-2`.
impl fmt::Display for Decimal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.negative { "-" } else { "" };
        write!(formatter, "{sign}{}e{}", self.digits, self.exponent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decimal(text: &str) -> Decimal {
        Decimal::of(&serde_json::from_str(text).unwrap())
    }

    #[test]
    fn equal_numbers_are_equal_values() {
        for (left, right, expected) in [
            ("1", "1.0", true),
            ("0", "-0.0", true),
            ("100", "1e2", true),
            ("9223372036854775808", "9223372036854775808.0", true),
            ("9007199254740993", "9007199254740992.0", false),
            ("0.1", "0.10000000000000001", true),
            ("18446744073709551615", "18446744073709551616", false),
            ("-1", "1", false),
        ] {
            assert_eq!(decimal(left) == decimal(right), expected, "{left} {right}");
        }
    }

    #[test]
    fn order_is_total_and_exact() {
        let rising = [
            "-1e308",
            "-2",
            "-1.5",
            "-1",
            "-5e-324",
            "0",
            "5e-324",
            "0.1",
            "0.11",
            "0.2",
            "1",
            "9",
            "10",
            "10.5",
            "11",
            "9007199254740992",
            "9007199254740993",
            "18446744073709551615",
            "18446744073709551616",
            "1e30",
            "1e308",
        ];
        for (index, left) in rising.iter().enumerate() {
            for (other, right) in rising.iter().enumerate() {
                assert_eq!(
                    decimal(left).cmp(&decimal(right)),
                    index.cmp(&other),
                    "{left} {right}"
                );
            }
        }
    }

    #[test]
    fn multiples_in_decimal() {
        for (value, divisor, expected) in [
            ("0.3", "0.1", true),
            ("19.99", "0.01", true),
            ("19.995", "0.01", false),
            ("0.0075", "0.0001", true),
            ("0.00751", "0.0001", false),
            ("1e308", "0.5", true),
            ("1e308", "0.123456789", false),
            ("1e-300", "1e300", false),
            ("0", "1e300", true),
            ("-9", "3", true),
            ("18446744073709551615", "5", true),
            ("9007199254740993", "2", false),
            ("4.5", "1.5", true),
            ("12", "1e1", false),
        ] {
            assert_eq!(
                decimal(value).is_multiple_of(decimal(divisor)),
                expected,
                "{value} {divisor}"
            );
        }
    }

    #[test]
    fn counts() {
        for (text, expected) in [
            ("2.0", Some(2)),
            ("0", Some(0)),
            ("1e3", Some(1000)),
            ("1e300", Some(u64::MAX)),
            ("-1", None),
            ("1.5", None),
        ] {
            assert_eq!(decimal(text).count(), expected, "{text}");
        }
    }
}
