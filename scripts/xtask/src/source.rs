//! A Rust file as the checks see it: code without comments and literals, the literals apart, tests cut off.
//!
//! This is no parser. It knows just enough of the lexical grammar (nested comments, raw strings, lifetimes) never to
//! take a word in a comment or in a message for code.

/// A scanned file.
#[derive(Debug)]
pub(crate) struct Source {
    /// The text, line for line, with comments and the insides of literals blanked.
    code: String,
    literals: Vec<Literal>,
}

/// What stands between the quotes of a string literal, as it is written.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Literal {
    pub(crate) line: usize,
    pub(crate) text: String,
}

impl Source {
    pub(crate) fn scan(text: &str) -> Self {
        let mut scanner = Scanner::new(text);
        while scanner.at < scanner.chars.len() {
            scanner.step();
        }
        Self {
            code: scanner.code,
            literals: scanner.literals,
        }
    }

    /// The code above the file's own test module, with comments and literals blanked.
    pub(crate) fn production(&self) -> &str {
        let end = self
            .test_modules()
            .find(|module| module.is_inline)
            .map_or(self.code.len(), |module| module.start);

        &self.code[..end]
    }

    /// How many lines stand above the file's own test module.
    pub(crate) fn production_lines(&self) -> usize {
        self.production().lines().count()
    }

    /// The string literals above the file's own test module.
    pub(crate) fn production_literals(&self) -> impl Iterator<Item = &Literal> {
        let lines = self.production_lines();

        self.literals.iter().filter(move |literal| literal.line <= lines)
    }

    /// The names of test modules that have a file of their own (`#[cfg(test)] mod name;`).
    pub(crate) fn test_files(&self) -> impl Iterator<Item = &str> {
        self.test_modules()
            .filter(|module| !module.is_inline)
            .map(|module| module.name)
    }

    fn test_modules(&self) -> impl Iterator<Item = TestModule<'_>> {
        self.code.match_indices(TEST_ATTRIBUTE).filter_map(|(start, _)| {
            let rest = self.code[start + TEST_ATTRIBUTE.len()..].trim_start();
            let rest = rest
                .strip_prefix("pub(crate)")
                .or_else(|| rest.strip_prefix("pub"))
                .unwrap_or(rest);
            let rest = rest.trim_start().strip_prefix("mod ")?;
            let (name, rest) = rest.split_at(rest.find([' ', ';', '{'])?);

            Some(TestModule {
                start,
                name,
                is_inline: !rest.trim_start().starts_with(';'),
            })
        })
    }
}

struct TestModule<'a> {
    /// Where its attribute starts in the code.
    start: usize,
    name: &'a str,
    is_inline: bool,
}

/// The 1-based line of the byte `at` in `text`.
pub(crate) fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

/// Where `word` stands in `code` as a whole: not as a part of a longer identifier.
pub(crate) fn find_words<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    code.match_indices(word).map(|(at, _)| at).filter(move |at| {
        let before = code[..*at].chars().next_back();
        let after = code[at + word.len()..].chars().next();
        let touches = |edge: Option<char>, neighbour: Option<char>| {
            edge.is_some_and(is_word) && neighbour.is_some_and(is_word)
        };

        !touches(word.chars().next(), before) && !touches(word.chars().next_back(), after)
    })
}

fn is_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

struct Scanner {
    chars: Vec<char>,
    at: usize,
    line: usize,
    code: String,
    literals: Vec<Literal>,
}

impl Scanner {
    fn new(text: &str) -> Self {
        Self {
            chars: text.chars().collect(),
            at: 0,
            line: 1,
            code: String::with_capacity(text.len()),
            literals: Vec::new(),
        }
    }

    fn peek(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.at + ahead).copied()
    }

    /// Takes in one token of the kinds that matter, or one character.
    fn step(&mut self) {
        match (self.peek(0), self.peek(1)) {
            (Some('/'), Some('/')) => self.line_comment(),
            (Some('/'), Some('*')) => self.block_comment(),
            (Some('"'), _) => self.string(),
            (Some('r'), Some('"' | '#')) if self.starts_raw_string() => self.raw_string(),
            (Some('\''), Some('\\')) => self.escaped_char(),
            (Some('\''), _) if self.peek(2) == Some('\'') => self.plain_char(),
            _ => self.keep(),
        }
    }

    fn keep(&mut self) {
        if let Some(letter) = self.peek(0) {
            self.line += usize::from(letter == '\n');
            self.code.push(letter);
            self.at += 1;
        }
    }

    /// Passes one character without showing it; line breaks stay, so that lines can be counted.
    fn blank(&mut self) {
        match self.peek(0) {
            Some('\n') => self.keep(),
            _ => {
                self.code.push(' ');
                self.at += 1;
            }
        }
    }

    fn line_comment(&mut self) {
        while self.peek(0).is_some_and(|letter| letter != '\n') {
            self.blank();
        }
    }

    fn block_comment(&mut self) {
        let mut depth = 0_usize;
        while self.at < self.chars.len() {
            let width = match (self.peek(0), self.peek(1)) {
                (Some('/'), Some('*')) => {
                    depth += 1;
                    2
                }
                (Some('*'), Some('/')) => {
                    depth -= 1;
                    2
                }
                _ => 1,
            };
            (0..width).for_each(|_| self.blank());
            if depth == 0 {
                return;
            }
        }
    }

    fn string(&mut self) {
        let line = self.line;
        self.keep();
        let start = self.at;
        while self.peek(0).is_some_and(|letter| letter != '"') {
            if self.peek(0) == Some('\\') {
                self.blank();
            }
            self.blank();
        }
        self.close_literal(start, line);
    }

    /// Whether the `r` at hand opens a raw string; `r#type` is an identifier.
    fn starts_raw_string(&self) -> bool {
        let hashes = self.chars[self.at + 1..]
            .iter()
            .take_while(|letter| **letter == '#')
            .count();

        self.peek(1 + hashes) == Some('"')
    }

    fn raw_string(&mut self) {
        let line = self.line;
        self.keep();
        let mut hashes = 0;
        while self.peek(0) == Some('#') {
            self.keep();
            hashes += 1;
        }
        self.keep();
        let start = self.at;
        let is_end = |scanner: &Self| {
            scanner.peek(0) == Some('"') && (1..=hashes).all(|ahead| scanner.peek(ahead) == Some('#'))
        };
        while self.at < self.chars.len() && !is_end(self) {
            self.blank();
        }
        self.close_literal(start, line);
    }

    fn close_literal(&mut self, start: usize, line: usize) {
        let end = self.at.min(self.chars.len());
        self.literals.push(Literal {
            line,
            text: self.chars[start..end].iter().collect(),
        });
        self.keep();
    }

    fn escaped_char(&mut self) {
        (0..3).for_each(|_| self.blank());
        while self.peek(0).is_some_and(|letter| letter != '\'') {
            self.blank();
        }
        self.blank();
    }

    fn plain_char(&mut self) {
        (0..3).for_each(|_| self.blank());
    }
}

const TEST_ATTRIBUTE: &str = "#[cfg(test)]";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_no_code() {
        let text = "let a = \"std::env\"; // std::fs\n/* a /* nested */ std::os */ let b = r#\"x \" y\"#;\nlet c = 'x';\n";
        let source = Source::scan(text);

        assert!(!source.production().contains("std"));
        assert!(source.production().contains("let b"));
        assert!(source.production().contains("let c"));
        assert_eq!(
            source.production_literals().collect::<Vec<_>>(),
            [
                &Literal {
                    line: 1,
                    text: "std::env".to_owned()
                },
                &Literal {
                    line: 2,
                    text: "x \" y".to_owned()
                }
            ]
        );
    }

    #[test]
    fn lifetimes_quotes_and_raw_identifiers_do_not_derail_the_scan() {
        let text =
            "fn f<'a>(r#type: &'a str) -> char { let q = '\"'; let e = '\\''; let s = b\"\\\"\"; here() }\n";
        let source = Source::scan(text);

        assert!(source.production().contains("here()"));
        assert_eq!(source.literals.len(), 1);
    }

    #[test]
    fn a_string_over_several_lines_keeps_the_line_count() {
        let source = Source::scan("let a = \"one\n two\n\";\nlet b = \"three\";\n");

        assert_eq!(source.production_lines(), 4);
        assert_eq!(source.literals[0].line, 1);
        assert_eq!(source.literals[1].line, 4);
    }

    #[test]
    fn production_ends_where_the_test_module_starts() {
        let source = Source::scan("fn f() {}\n\n#[cfg(test)]\nmod tests {\n    const A: &str = \"a\";\n}\n");

        assert_eq!(source.production_lines(), 2);
        assert_eq!(source.production_literals().count(), 0);
    }

    #[test]
    fn a_test_module_in_its_own_file_or_a_test_function_cuts_nothing() {
        let source = Source::scan("#[cfg(test)]\nmod model;\n#[cfg(test)]\nfn only_here() {}\nfn f() {}\n");

        assert_eq!(source.production_lines(), 5);
        assert_eq!(source.test_files().collect::<Vec<_>>(), ["model"]);
    }

    #[test]
    fn a_word_is_found_only_whole() {
        let code = "async fn asynchronous() { is_async; x.spawn(y) }";

        assert_eq!(find_words(code, "async").collect::<Vec<_>>(), [0]);
        assert_eq!(find_words(code, ".spawn(").count(), 1);
        assert_eq!(line_of("a\nb\nc", 4), 3);
    }
}
