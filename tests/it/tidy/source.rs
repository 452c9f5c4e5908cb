//! A source file as the rules see it: comments and literals blanked out, the part that only tests compile known. No parser.

/// A file of the project.
pub(crate) struct Source {
    /// Relative to the top of the project, with `/`.
    pub(crate) path: String,
    /// As it is.
    pub(crate) text: String,
    /// Rust only, else empty: [`Source::text`] with comments and literals turned to blanks. The lines stay where they are.
    pub(crate) code: String,
    /// Only tests compile it; see [`mark_tests`].
    tests_only: bool,
}

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Source {
        let code = if path.ends_with(".rs") { blank(text) } else { String::new() };
        Source { path: path.to_owned(), text: text.to_owned(), code, tests_only: !path.starts_with("src/") }
    }

    /// The code that is not only for tests: everything before the `#[cfg(test)]` of a module that starts at the left margin.
    pub(crate) fn product_code(&self) -> &str {
        if self.tests_only {
            return "";
        }
        let tests = self.code.match_indices("\n#[cfg(test)]\n").find(|(at, mark)| {
            declaration(&self.code[at + mark.len()..]).is_some_and(|line| line.starts_with("mod ") && line.ends_with('{'))
        });
        tests.map_or(&self.code, |(at, _)| &self.code[..=at])
    }

    /// The files that this one declares as modules for tests alone, without their ending.
    fn declared_for_tests(&self) -> Vec<String> {
        let path = self.path.strip_suffix(".rs").unwrap_or(&self.path);
        let dir = path.strip_suffix("/mod").or_else(|| path.strip_suffix("/lib")).or_else(|| path.strip_suffix("/main")).unwrap_or(path);
        let marks = self.code.match_indices("#[cfg(test)]\n").filter_map(|(at, mark)| declaration(&self.code[at + mark.len()..]));
        marks.filter_map(|line| Some(format!("{dir}/{}", line.rsplit_once("mod ")?.1.strip_suffix(';')?))).collect()
    }

    /// The module that a file of the library or the binary is: `src/local/scan.rs` is `local`, `scan`; `src/lib.rs` is nothing.
    pub(crate) fn module(&self) -> Vec<&str> {
        let path = self.path.strip_prefix("src/").unwrap_or(&self.path);
        let mut module: Vec<&str> = path.strip_suffix(".rs").unwrap_or(path).split('/').collect();
        module.pop_if(|last| matches!(*last, "mod" | "lib" | "main"));
        module
    }

    /// The name of its top-level module; empty for `src/lib.rs` and `src/main.rs`.
    pub(crate) fn top(&self) -> &str {
        self.module().first().copied().unwrap_or_default()
    }
}

/// Marks the files that are declared behind `#[cfg(test)]`, and what lies below them.
pub(crate) fn mark_tests(sources: &mut [Source]) {
    let tests: Vec<String> = sources.iter().flat_map(Source::declared_for_tests).collect();
    for source in sources {
        let is_at_or_below = |module: &String| source.path.strip_prefix(module).is_some_and(|rest| rest == ".rs" || rest.starts_with('/'));
        source.tests_only |= tests.iter().any(is_at_or_below);
    }
}

/// The line that attributes before it belong to.
fn declaration(code: &str) -> Option<&str> {
    code.lines().map(str::trim).find(|line| !line.starts_with("#[") && !line.is_empty())
}

/// Every top-level module that code of the module `module` names by `crate::…` or `super::…`, with its line. Braces are followed.
pub(crate) fn references(code: &str, module: &[&str]) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        if !follows_word(code, at) {
            found.extend(names(&code[at + "crate::".len()..]).into_iter().map(|name| (line_of(code, at), name)));
        }
    }
    for (at, _) in code.match_indices("super::") {
        if code[..at].ends_with("::") || follows_word(code, at) {
            continue;
        }
        let mut rest = &code[at..];
        let mut above = module;
        while let Some(after) = rest.strip_prefix("super::") {
            (rest, above) = (after, &above[..above.len().saturating_sub(1)]);
        }
        if above.is_empty() {
            found.extend(names(rest).into_iter().map(|name| (line_of(code, at), name)));
        }
    }
    found
}

/// Where `word` stands alone (no letter, digit or `_` around it), by line.
pub(crate) fn lines_with(code: &str, word: &str) -> Vec<usize> {
    let goes_on = |at: usize| code[at..].starts_with(|c: char| c == '_' || c.is_alphanumeric());
    let is_open = word.ends_with(|c: char| c.is_alphanumeric());
    let alone = |at: &usize| !(follows_word(code, *at) || is_open && goes_on(at + word.len()));
    code.match_indices(word).map(|(at, _)| at).filter(alone).map(|at| line_of(code, at)).collect()
}

pub(crate) fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

fn follows_word(code: &str, at: usize) -> bool {
    code[..at].ends_with(|c: char| c == '_' || c.is_alphanumeric())
}

/// The first names of a path's tail: `a::b` gives `a`; `{a::b, c::{d, e}}` gives `a`, `c`.
fn names(tail: &str) -> Vec<String> {
    let name = |text: &str| text.trim_start().chars().take_while(|c| *c == '_' || c.is_alphanumeric()).collect::<String>();
    let Some(group) = tail.strip_prefix('{') else { return vec![name(tail)] };
    let (mut depth, mut start, mut found) = (0, 0, Vec::new());
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            '}' | ',' if depth == 0 => {
                found.push(name(&group[start..at]));
                start = at + 1;
                if c == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    found.retain(|name| !name.is_empty());
    found
}

/// Turns comments and string and character literals into blanks.
fn blank(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        match comment(rest).or_else(|| literal(rest, out.chars().next_back())) {
            Some(length) => {
                out.extend(rest[..length].chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
                rest = &rest[length..];
            }
            None => {
                out.push(c);
                rest = &rest[c.len_utf8()..];
            }
        }
    }
    out
}

/// The length of the comment that starts here.
fn comment(text: &str) -> Option<usize> {
    if text.starts_with("//") {
        return Some(text.find('\n').unwrap_or(text.len()));
    }
    text.starts_with("/*").then(|| block_comment(text))
}

fn block_comment(text: &str) -> usize {
    let mut depth = 0;
    for (at, pair) in text.as_bytes().windows(2).enumerate() {
        match pair {
            b"/*" => depth += 1,
            b"*/" if depth == 1 => return at + 2,
            b"*/" => depth -= 1,
            _ => {}
        }
    }
    text.len()
}

/// The length of the string or character literal that starts here, after the character `before`.
fn literal(text: &str, before: Option<char>) -> Option<usize> {
    let starts_word = !before.is_some_and(|c| c == '_' || c.is_alphanumeric());
    text.strip_prefix('"').map(|inside| 1 + string(inside)).or_else(|| character(text)).or_else(|| raw_string(text).filter(|_| starts_word))
}

/// The length of a string, from behind its opening quote to behind its closing one.
fn string(inside: &str) -> usize {
    let mut escaped = false;
    for (at, c) in inside.char_indices() {
        match c {
            '"' if !escaped => return at + 1,
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    inside.len()
}

/// The length of a character literal; `None` for a lifetime.
fn character(text: &str) -> Option<usize> {
    let inside = text.strip_prefix('\'')?;
    let first = inside.chars().next()?;
    let behind = if first == '\\' { 2 } else { first.len_utf8() };
    let close = inside.get(behind..)?.find('\'')?;
    (first == '\\' || close == 0).then_some(1 + behind + close + 1)
}

/// The length of a raw string, `r` or `br` included.
fn raw_string(text: &str) -> Option<usize> {
    let after = text.strip_prefix("br").or_else(|| text.strip_prefix('r'))?;
    let hashes = after.len() - after.trim_start_matches('#').len();
    let inside = after[hashes..].strip_prefix('"')?;
    let close = format!("\"{}", "#".repeat(hashes));
    let end = inside.find(&close).map_or(inside.len(), |at| at + close.len());
    Some(text.len() - inside.len() + end)
}

#[test]
fn comments_and_literals_are_blank_and_code_is_not() {
    let check = |text: &str, code: &str| assert_eq!(blank(text), code);
    check("a // b\nc", "a     \nc");
    check("a /* b /* c */ d\n */ e", "a               \n    e");
    check(r#"f("x // y", 'c', '\'', '"') // z"#, "f(        ,    ,     ,    )     ");
    check(r##"let a = r#"x " y"#; b"##, "let a =           ; b");
    check("fn f<'a>(x: &'a str) {}", "fn f<'a>(x: &'a str) {}");
    check(r"'\u{1b}' r#type", "         r#type");
}
