//! The grammar of scenario files.
//!
//! A directive is a line `command argument key=value key=(value, value)`, lines of input, a line `----`, and the expected
//! output up to an empty line. Output that has empty lines itself stands between `----`, `----` and `----`, `----`. Outside
//! of directives, lines that begin with `#` are comments. A line that ends with `\` goes on in the next.

use std::ops::Range;

/// What parts a directive from its output.
const SEPARATOR: &str = "----";

/// One argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Argument {
    /// What stands before `=`, or all of it.
    pub(crate) key: String,
    /// What stands behind `=`. `None`: there is no `=`.
    pub(crate) values: Option<Vec<String>>,
}

/// A command and its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Command {
    pub(crate) name: String,
    pub(crate) arguments: Vec<Argument>,
}

/// One directive with what is expected of it.
#[derive(Clone, Debug)]
pub(crate) struct Directive {
    /// The line of its command, from 1 on.
    pub(crate) line: usize,
    pub(crate) command: Command,
    /// Lines between the command and its output.
    pub(crate) input: Vec<String>,
    /// Without the last line's end.
    pub(crate) expected: String,
    /// The line in which the expected output begins.
    pub(crate) expected_line: usize,
    /// The lines of the output, with the separators, counted from 0: what is replaced when expectations are rewritten.
    pub(crate) output: Range<usize>,
}

/// A line that is no part of a scenario.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Malformed {
    pub(crate) line: usize,
    /// What is wrong, and what is right.
    pub(crate) message: String,
}

fn malformed(line: usize, message: impl Into<String>) -> Malformed {
    Malformed { line, message: message.into() }
}

/// All directives of a file.
pub(crate) fn parse(text: &str) -> Result<Vec<Directive>, Malformed> {
    let lines: Vec<&str> = text.lines().collect();
    let mut directives = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        let line = lines[at].trim();
        if line.is_empty() || line.starts_with('#') {
            at += 1;
            continue;
        }
        let (directive, next) = directive(&lines, at)?;
        directives.push(directive);
        at = next;
    }
    Ok(directives)
}

/// The directive that begins at a line, and where the next may begin.
fn directive(lines: &[&str], first: usize) -> Result<(Directive, usize), Malformed> {
    if lines[first].trim() == SEPARATOR {
        return Err(malformed(
            first + 1,
            "`----` without a command before it: a directive begins with its command",
        ));
    }
    let (mut at, mut joined) = (first, lines[first].trim().to_owned());
    while let Some(head) = joined.strip_suffix('\\') {
        at += 1;
        let Some(next) = lines.get(at) else {
            return Err(malformed(
                at,
                "`\\` at the end of the file: the command goes on in the line after it",
            ));
        };
        joined = format!("{} {}", head.trim_end(), next.trim());
    }
    let command = command(&joined, first + 1)?;
    let mut input = Vec::new();
    loop {
        at += 1;
        match lines.get(at) {
            Some(line) if line.trim_end() == SEPARATOR => break,
            Some(line) => input.push((*line).to_owned()),
            None => {
                let message =
                    format!("`{}` has no `----`: its expected output stands behind one", command.name);
                return Err(malformed(first + 1, message));
            }
        }
    }
    let (expected, range) = output(lines, at)?;
    let next = range.end;
    let directive =
        Directive { line: first + 1, command, input, expected, expected_line: at + 2, output: range };
    Ok((directive, next))
}

/// The expected output behind the separator at a line, and the lines that it takes with its separators.
fn output(lines: &[&str], separator: usize) -> Result<(String, Range<usize>), Malformed> {
    let is_separator = |at: usize| lines.get(at).is_some_and(|line| line.trim_end() == SEPARATOR);
    let begin = separator + 1;
    if !is_separator(begin) {
        let end = (begin..lines.len()).find(|&at| lines[at].trim().is_empty()).unwrap_or(lines.len());
        return Ok((lines[begin..end].join("\n"), separator..end));
    }
    let end = (begin + 1..lines.len()).find(|&at| is_separator(at) && is_separator(at + 1));
    let Some(end) = end else {
        return Err(malformed(
            begin + 1,
            "`----` twice without an end: output with empty lines ends with `----` twice",
        ));
    };
    Ok((lines[begin + 1..end].join("\n"), separator..end + 2))
}

/// A command line.
pub(crate) fn command(line: &str, number: usize) -> Result<Command, Malformed> {
    let mut words = words(line, number)?.into_iter();
    let Some(name) = words.next() else {
        return Err(malformed(number, "an empty line where a command is wanted"));
    };
    if name.contains(['=', '(', ')']) {
        return Err(malformed(
            number,
            format!("`{name}` where a command is wanted: arguments stand behind the command"),
        ));
    }
    Ok(Command { name, arguments: words.map(|word| argument(&word)).collect() })
}

/// Words parted by spaces, but not inside of brackets.
fn words(line: &str, number: usize) -> Result<Vec<String>, Malformed> {
    let (mut words, mut word, mut inside) = (Vec::new(), String::new(), false);
    for character in line.chars() {
        match character {
            '(' if inside => return Err(malformed(number, "`(` inside of brackets: a list is `(1, 2, 3)`")),
            ')' if !inside => {
                return Err(malformed(number, "`)` without `(` before it: a list is `(1, 2, 3)`"));
            }
            '(' | ')' => inside = character == '(',
            _ => {}
        }
        if character.is_whitespace() && !inside {
            words.extend((!word.is_empty()).then(|| std::mem::take(&mut word)));
        } else {
            word.push(character);
        }
    }
    if inside {
        return Err(malformed(number, "`(` without `)`: a list is `(1, 2, 3)`"));
    }
    words.extend((!word.is_empty()).then_some(word));
    Ok(words)
}

fn argument(word: &str) -> Argument {
    let Some((key, value)) = word.split_once('=') else {
        return Argument { key: word.to_owned(), values: None };
    };
    let values = match value.strip_prefix('(').and_then(|list| list.strip_suffix(')')) {
        Some(list) if list.trim().is_empty() => Vec::new(),
        Some(list) => list.split([',', ' ']).filter(|part| !part.is_empty()).map(str::to_owned).collect(),
        None => vec![value.to_owned()],
    };
    Argument { key: key.to_owned(), values: Some(values) }
}

/// The text with other outputs: one for each directive, in order.
pub(crate) fn rewritten(text: &str, directives: &[Directive], outputs: &[String]) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let (mut new, mut at) = (Vec::new(), 0);
    for (directive, output) in directives.iter().zip(outputs) {
        new.extend(lines[at..directive.output.start].iter().map(|line| (*line).to_owned()));
        let doubled = output.lines().any(|line| line.trim().is_empty());
        let marks = if doubled { 2 } else { 1 };
        new.extend(std::iter::repeat_n(SEPARATOR.to_owned(), marks));
        new.extend(output.lines().map(str::to_owned));
        new.extend(std::iter::repeat_n(SEPARATOR.to_owned(), if doubled { 2 } else { 0 }));
        at = directive.output.end;
    }
    new.extend(lines[at..].iter().map(|line| (*line).to_owned()));
    new.join("\n") + "\n"
}
