//! One JSON value as the text of a cell.

use jiff::{Timestamp, Unit};
use serde_json::Value;

/// What stands where there is nothing.
pub(super) const NOTHING: &str = "-";

/// A value in one line.
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::Null => NOTHING.to_owned(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::Number(number) => match number.as_f64().filter(|_| number.is_f64()) {
            Some(float) => shortened(float),
            None => number.to_string(),
        },
        Value::String(text) if text.is_empty() => NOTHING.to_owned(),
        Value::String(text) => printable(text),
        Value::Array(items) if items.is_empty() => NOTHING.to_owned(),
        Value::Array(items) if items.iter().all(Value::is_array) => {
            items.iter().map(hops).collect::<Vec<_>>().join(", ")
        }
        Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(","),
        Value::Object(members) if members.is_empty() => NOTHING.to_owned(),
        Value::Object(members) => {
            let pairs = members
                .iter()
                .map(|(key, value)| format!("{key}={}", text(value)));
            pairs.collect::<Vec<_>>().join(",")
        }
    }
}

/// A text may come from a file that somebody else wrote: no escape of a terminal is passed on.
pub(crate) fn printable(text: &str) -> String {
    let replaced = text
        .chars()
        .map(|character| match character.is_control() && character != '\n' {
            true => char::REPLACEMENT_CHARACTER,
            false => character,
        });

    replaced.collect()
}

/// How long before `now` a time in RFC 3339 was, in its largest unit.
pub(super) fn age(value: &Value, now: Timestamp) -> String {
    let at = value.as_str().and_then(|text| text.parse::<Timestamp>().ok());
    let Some(at) = at else { return text(value) };

    length(now.duration_since(at).as_secs().max(0).unsigned_abs())
}

/// Milliseconds in their largest unit.
pub(super) fn lapse(value: &Value) -> String {
    value
        .as_u64()
        .map_or_else(|| text(value), |millis| length(millis / 1_000))
}

fn length(seconds: u64) -> String {
    match seconds {
        0..=119 => format!("{seconds}s"),
        120..=7_199 => format!("{}m", seconds / 60),
        7_200..=172_799 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// The kind, and of the id as much as log lines show.
pub(super) fn brief(text: &str) -> String {
    match text.split_once('/') {
        Some((kind, id)) => format!("{kind}/{}", id.chars().take(SHORT).collect::<String>()),
        None => text.to_owned(),
    }
}

/// A time for a person: to the second.
pub(super) fn to_the_second(text: &str) -> Option<String> {
    let is_time = text.len() >= RFC_3339 && text.as_bytes()[4] == b'-' && text.contains('T');
    let at = is_time.then(|| text.parse::<Timestamp>().ok()).flatten()?;

    at.round(Unit::Second).ok().map(|at| at.to_string())
}

fn hops(path: &Value) -> String {
    let nodes = path
        .as_array()
        .map(|nodes| nodes.iter().map(text).collect::<Vec<_>>());

    nodes.unwrap_or_default().join(" ")
}

fn shortened(float: f64) -> String {
    let text = format!("{float:.3}");

    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Letters of an id that log lines show.
const SHORT: usize = 8;
/// `2026-01-01T00:00:00Z`, the shortest there is.
const RFC_3339: usize = 20;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_become_short_texts() {
        let cases = [
            (json!(null), "-"),
            (json!(""), "-"),
            (json!([]), "-"),
            (json!({}), "-"),
            (json!(true), "yes"),
            (json!("a\u{1b}[2Jb"), "a\u{fffd}[2Jb"),
            (json!(1.5), "1.5"),
            (json!(2.0), "2"),
            (json!(0.125_49), "0.125"),
            (json!(1_800), "1800"),
            (json!(["member", "relay"]), "member,relay"),
            (json!([["a", "r", "b"], ["a", "b"]]), "a r b, a b"),
            (json!({"site": "fra", "host": "h1"}), "host=h1,site=fra"),
        ];
        for (value, expected) in cases {
            assert_eq!(text(&value), expected, "{value}");
        }
    }

    #[test]
    fn ages_are_in_one_unit_and_never_negative() {
        let at = |seconds: i64| json!(Timestamp::from_second(1_000_000 - seconds).unwrap().to_string());
        let now = Timestamp::from_second(1_000_000).unwrap();
        for (seconds, expected) in [
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (7_200, "2h"),
            (400_000, "4d"),
            (-5, "0s"),
        ] {
            assert_eq!(age(&at(seconds), now), expected);
        }
        assert_eq!(age(&json!(null), now), "-");
    }

    #[test]
    fn a_lapse_is_in_one_unit() {
        for (millis, expected) in [
            (json!(900), "0s"),
            (json!(15_200), "15s"),
            (json!(7_200_000), "2h"),
        ] {
            assert_eq!(lapse(&millis), expected);
        }
        assert_eq!(lapse(&json!(null)), "-");
    }

    #[test]
    fn times_are_cut_to_the_second_and_nothing_else_is() {
        assert_eq!(
            to_the_second("2026-10-22T00:19:02.25Z").as_deref(),
            Some("2026-10-22T00:19:02Z")
        );
        assert_eq!(to_the_second("web-01"), None);
        assert_eq!(to_the_second("äöüäöüäöüäöüäöüäöüäöü"), None);
    }
}
