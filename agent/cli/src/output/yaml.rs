//! YAML 1.2 in block style. Every scalar is its JSON text, which YAML reads as the same value; so nothing is guessed.

use serde_json::Value;

pub(super) fn write(value: &Value) -> String {
    let mut text = String::new();
    match is_flat(value) {
        true => text.push_str(&format!("{value}\n")),
        false => block(value, 0, &mut text),
    }

    text
}

fn block(value: &Value, depth: usize, text: &mut String) {
    match value {
        Value::Array(items) => {
            for item in items {
                indent(depth, text);
                text.push('-');
                below(item, depth, text);
            }
        }
        Value::Object(members) => {
            for (name, member) in members {
                indent(depth, text);
                text.push_str(&key(name));
                text.push(':');
                below(member, depth, text);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn below(value: &Value, depth: usize, text: &mut String) {
    match is_flat(value) {
        true => text.push_str(&format!(" {value}\n")),
        false => {
            text.push('\n');
            block(value, depth + 1, text);
        }
    }
}

/// Whether the JSON text stands in one line: everything but a collection with something in it.
fn is_flat(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
    }
}

/// Plain where no reader of any version takes it for something else than text.
fn key(name: &str) -> String {
    let plain = name.starts_with(|letter: char| letter.is_ascii_lowercase())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');

    match plain && !NOT_TEXT.contains(&name) {
        true => name.to_owned(),
        false => Value::from(name).to_string(),
    }
}

fn indent(depth: usize, text: &mut String) {
    text.push_str(&"  ".repeat(depth));
}

/// What YAML 1.1 reads as a truth value or as nothing.
const NOT_TEXT: [&str; 9] = ["y", "n", "yes", "no", "on", "off", "true", "false", "null"];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn collections_are_blocks_and_scalars_are_json() {
        let value = json!([
            {"name": "web-01", "labels": {"no": "y", "site": "fra"}, "roles": ["member"], "rtt_ms": 1.5, "standbys": []},
            {"name": "a \"b\"\n#c: d", "path": null, "ok": true, "labels": {}},
        ]);

        assert_eq!(
            write(&value),
            "-\n  \
               labels:\n    \
                 \"no\": \"y\"\n    \
                 site: \"fra\"\n  \
               name: \"web-01\"\n  \
               roles:\n    \
                 - \"member\"\n  \
               rtt_ms: 1.5\n  \
               standbys: []\n\
             -\n  \
               labels: {}\n  \
               name: \"a \\\"b\\\"\\n#c: d\"\n  \
               ok: true\n  \
               path: null\n"
        );
    }

    #[test]
    fn a_scalar_stands_alone() {
        assert_eq!(write(&json!("x")), "\"x\"\n");
        assert_eq!(write(&json!({})), "{}\n");
    }
}
