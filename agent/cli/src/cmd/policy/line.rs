//! In which line of a file a policy says something: of TOML and of JSON, both of which were read without a fault before.

use super::Form;

/// The line of a member of a policy, or of the policy that has no such member: places and lines count from 1.
pub(super) fn of(text: &str, place: usize, member: Option<&str>) -> Option<usize> {
    let at = match Form::of(text) {
        Form::Toml => in_toml(text, place, member),
        Form::List => Scan::new(text).policy(place, member),
        Form::Object => {
            let mut scan = Scan::new(text);
            scan.member("policies").and_then(|_| scan.policy(place, member))
        }
    };
    let before = text.get(..at?)?;

    Some(before.matches('\n').count() + 1)
}

fn in_toml(text: &str, place: usize, member: Option<&str>) -> Option<usize> {
    let document = toml::de::DeTable::parse(text).ok()?;
    let policies = document.get_ref().get("policies")?.get_ref().as_array()?;
    let policy = policies.get(place.checked_sub(1)?)?;
    let table = policy.get_ref().as_table()?;
    let found = member.and_then(|member| table.get(member)).unwrap_or(policy);

    Some(found.span().start)
}

/// A walk through JSON that was parsed before: the parser tells values, not where they stand.
struct Scan<'a> {
    text: &'a str,
    /// Before the next value, name or mark.
    at: usize,
}

impl<'a> Scan<'a> {
    const fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// Where the policy of this place stands in the list that comes next, or a member of it.
    fn policy(&mut self, place: usize, member: Option<&str>) -> Option<usize> {
        self.enter(b'[')?;
        for _ in 1..place {
            self.skip_value()?;
            self.enter(b',')?;
        }
        let policy = self.peek()?.0;

        Some(member.and_then(|member| self.member(member)).unwrap_or(policy))
    }

    /// Where the value of a member of the object that comes next stands. The walk goes on from there.
    fn member(&mut self, wanted: &str) -> Option<usize> {
        self.enter(b'{')?;
        loop {
            let name = self.skip_value()?;
            self.enter(b':')?;
            if serde_json::from_str::<String>(name).is_ok_and(|name| name == wanted) {
                return self.peek().map(|(at, _)| at);
            }
            self.skip_value()?;
            self.enter(b',')?;
        }
    }

    /// Goes behind the mark that comes next, if it is this one.
    fn enter(&mut self, mark: u8) -> Option<()> {
        let (at, found) = self.peek()?;
        self.at = at + 1;

        (found == mark).then_some(())
    }

    /// What comes next behind white space, and where.
    fn peek(&self) -> Option<(usize, u8)> {
        let rest = self.text.get(self.at..)?;
        let blank = rest.len() - rest.trim_ascii_start().len();

        Some((self.at + blank, *rest.as_bytes().get(blank)?))
    }

    /// Goes behind the value that comes next, and returns it.
    fn skip_value(&mut self) -> Option<&'a str> {
        let (start, _) = self.peek()?;
        let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
        let bytes = self.text.as_bytes().iter().enumerate().skip(start);
        let mut end = self.text.len();
        for (at, byte) in bytes {
            if quoted {
                (quoted, escaped) = (escaped || *byte != b'"', !escaped && *byte == b'\\');
                continue;
            }
            match byte {
                b'"' => quoted = true,
                b'[' | b'{' => depth += 1,
                b',' | b':' | b']' | b'}' if depth == 0 => {
                    end = at;
                    break;
                }
                b']' | b'}' => depth -= 1,
                _ => {}
            }
        }
        self.at = end;

        Some(self.text.get(start..end)?.trim_ascii_end())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_texts_and_in_lists_within_is_passed_over() {
        let text = r#"{ "x": ["policies", {"policies": [1]}], "a\"b": "}],",
            "poli\u0063ies": [
              {"name": "a \\", "target": "x"},
              {"name": "]}", "no": {"target": 1},
               "target": "y"}
            ]
        }"#;
        let lines = [
            (1, "target"),
            (2, "name"),
            (2, "target"),
            (2, "nothing"),
            (3, "name"),
        ];

        assert_eq!(
            lines.map(|(place, member)| of(text, place, Some(member))),
            [Some(3), Some(4), Some(5), Some(4), None]
        );
        assert_eq!(of(text, 2, None), Some(4));
    }

    #[test]
    fn a_text_that_ends_early_has_no_line() {
        for text in ["[", "[{", "[{\"name\"", "{\"policies\"", "[1", "[{\"name\": \"x"] {
            let _ = of(text, 2, Some("name"));
        }
    }
}
