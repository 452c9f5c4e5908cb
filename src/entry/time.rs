//! Points in time as one number: nanoseconds since 1970 where they fit, whole seconds before and after that.
//!
//! File systems keep times for longer than nanoseconds in 64 bits reach (1678 to 2262): XFS to 2486, ext4 to 2446, tmpfs for ever, and broken
//! clocks and archives make such times. The outermost 2^40 numbers on either side, 18 minutes of the years 1677 and 2262, stand for that many
//! seconds beyond. The order of the numbers is the order of the times.

/// A point in time: nanoseconds since 1970-01-01 UTC, negative before it; the outermost 2^40 numbers count the seconds beyond.
pub type Nanos = i64;

const SECOND: i128 = 1_000_000_000;
/// How many seconds beyond can be said: 34,865 years.
const BEYOND: i64 = 1 << 40;
/// The last number that is nanoseconds.
const LAST: i64 = i64::MAX - BEYOND;
/// The first whole second after it.
const FIRST_SECOND_BEYOND: i64 = LAST / 1_000_000_000 + 1;

/// The number of a time of a file system. Beyond the nanoseconds the fraction of a second is dropped; a time that is further away than can
/// be said is [`Nanos::MIN`] or [`Nanos::MAX`], which no other time has.
#[must_use]
pub fn time(seconds: i64, nanos: i64) -> Nanos {
    let all = i128::from(seconds) * SECOND + i128::from(nanos);
    match i64::try_from(all) {
        Ok(all) if (-LAST..=LAST).contains(&all) => all,
        _ if seconds >= 0 => beyond(seconds - FIRST_SECOND_BEYOND).unwrap_or(Nanos::MAX),
        _ => beyond((-FIRST_SECOND_BEYOND).saturating_sub(seconds)).map_or(Nanos::MIN, |number| -number),
    }
}

fn beyond(seconds: i64) -> Option<Nanos> {
    // What lies between the last number of nanoseconds and the first second counts to that second.
    let seconds = seconds.max(0);
    (seconds < BEYOND - 1).then(|| LAST + 1 + seconds)
}

/// The time of a number: seconds since 1970 and the nanoseconds after them.
#[must_use]
pub fn seconds_and_nanos(time: Nanos) -> (i64, i64) {
    match time {
        LAST.. if time > LAST => (FIRST_SECOND_BEYOND + (time - LAST - 1), 0),
        _ if time < -LAST => (-FIRST_SECOND_BEYOND - (-(time + 1) - LAST), 0),
        _ => (time.div_euclid(1_000_000_000), time.rem_euclid(1_000_000_000)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_that_file_systems_have_come_back_as_they_were() {
        let check = |seconds: i64, nanos: i64, expected: (i64, i64)| {
            assert_eq!(seconds_and_nanos(time(seconds, nanos)), expected, "{seconds}.{nanos:09}");
        };
        for seconds in [0, 1, -1, 1_700_000_000, -5_000_000_000, FIRST_SECOND_BEYOND - 2, 2 - FIRST_SECOND_BEYOND] {
            check(seconds, 5, (seconds, 5));
        }
        // 2300, 2446 (ext4), 2486 (XFS), 1000; whole seconds beyond the nanoseconds.
        for seconds in [10_413_792_000, 15_032_385_535, 16_299_260_425, -30_610_224_000, FIRST_SECOND_BEYOND, -FIRST_SECOND_BEYOND] {
            check(seconds, 0, (seconds, 0));
            check(seconds, 5, (seconds, 0));
        }
        assert_eq!((time(i64::MAX, 0), time(i64::MIN, 999_999_999)), (Nanos::MAX, Nanos::MIN));
        assert_eq!(time(FIRST_SECOND_BEYOND + BEYOND, 0), Nanos::MAX);
    }

    #[test]
    fn later_times_have_higher_numbers() {
        let ends = [i64::MIN, -30_610_224_000, -FIRST_SECOND_BEYOND - 1, -FIRST_SECOND_BEYOND, 1 - FIRST_SECOND_BEYOND, -1];
        let all: Vec<i64> = ends.into_iter().chain([0, FIRST_SECOND_BEYOND - 1, FIRST_SECOND_BEYOND, 10_413_792_000, i64::MAX]).collect();
        let numbers: Vec<Nanos> = all.iter().map(|seconds| time(*seconds, 0)).collect();
        assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
    }
}
