//! The time that a template is told.

use std::fmt::Write;

use minijinja::value::Object;

/// A date and time for templates that call `strftime_now`, in the zone that the caller chooses: transformers tells local time,
/// [`DateTime::from_unix`] gives UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DateTime {
    /// Year of the common era.
    pub year: u16,
    /// Month, from 1 to 12.
    pub month: u8,
    /// Day of the month, from 1.
    pub day: u8,
    /// Hour, from 0 to 23.
    pub hour: u8,
    /// Minute.
    pub minute: u8,
    /// Second.
    pub second: u8,
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

impl Object for DateTime {}

impl DateTime {
    /// The time so many seconds after the beginning of 1970, in UTC.
    #[must_use]
    pub fn from_unix(seconds: u64) -> Self {
        let clock = seconds % 86_400;
        // Years from March on, so that a leap day is the last of one (Hinnant's days_from_civil, backwards).
        let days = seconds / 86_400 + 719_468;
        let (era, day) = (days / 146_097, days % 146_097);
        let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        let month = (5 * day + 2) / 153;
        let (day, month) = (day - (153 * month + 2) / 5 + 1, if month < 10 { month + 3 } else { month - 9 });
        let year = era * 400 + year + u64::from(month < 3);
        Self {
            year: u16::try_from(year).unwrap_or(u16::MAX),
            month: month as u8,
            day: day as u8,
            hour: (clock / 3600) as u8,
            minute: (clock / 60 % 60) as u8,
            second: (clock % 60) as u8,
        }
    }

    /// The time in a format of C's `strftime`, in English; the letter that is not known, if one is not.
    pub(super) fn format(&self, format: &str) -> Result<String, char> {
        let mut out = String::new();
        let mut characters = format.chars();
        while let Some(character) = characters.next() {
            if character != '%' {
                out.push(character);
                continue;
            }
            let mut letter = characters.next().unwrap_or('%');
            let plain = letter == '-';
            if plain {
                letter = characters.next().unwrap_or('-');
            }
            let month = MONTHS[usize::from(self.month.clamp(1, 12)) - 1];
            let day = DAYS[self.weekday()];
            let hour12 = (self.hour + 11) % 12 + 1;
            let number = match letter {
                'd' => self.day,
                'm' => self.month,
                'H' => self.hour,
                'I' => hour12,
                'M' => self.minute,
                'S' => self.second,
                'y' => (self.year % 100) as u8,
                _ => {
                    match letter {
                        'Y' => out.push_str(&self.year.to_string()),
                        'B' => out.push_str(month),
                        'b' => out.push_str(&month[..3]),
                        'A' => out.push_str(day),
                        'a' => out.push_str(&day[..3]),
                        'p' => out.push_str(if self.hour < 12 { "AM" } else { "PM" }),
                        '%' => out.push('%'),
                        _ => return Err(letter),
                    }
                    continue;
                }
            };
            let width = if plain { 0 } else { 2 };
            // Writing to a string cannot fail.
            let _ = write!(out, "{number:0width$}");
        }
        Ok(out)
    }

    /// Days since a Sunday, modulo 7 (Sakamoto's method).
    fn weekday(&self) -> usize {
        const SHIFT: [usize; 12] = [0, 3, 2, 5, 0, 3, 5, 1, 4, 6, 2, 4];
        let month = usize::from(self.month.clamp(1, 12));
        let year = usize::from(self.year.max(1)) - usize::from(month < 3);
        (year + year / 4 - year / 100 + year / 400 + SHIFT[month - 1] + usize::from(self.day)) % 7
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_dates() {
        for (seconds, text) in [
            (0, "Thursday 1970-01-01 00:00:00 12 AM"),
            (951_782_399, "Monday 2000-02-28 23:59:59 11 PM"),
            (951_782_400, "Tuesday 2000-02-29 00:00:00 12 AM"),
            (1_772_719_629, "Thursday 2026-03-05 14:07:09 02 PM"),
            (4_107_542_400, "Monday 2100-03-01 00:00:00 12 AM"),
        ] {
            let time = DateTime::from_unix(seconds);
            assert_eq!(time.format("%A %Y-%m-%d %H:%M:%S %I %p").unwrap(), text);
        }
        assert_eq!(DateTime::from_unix(0).format("%-d %b %y %q"), Err('q'));
    }
}
