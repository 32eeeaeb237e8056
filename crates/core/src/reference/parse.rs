//! The grammar. Positions are byte offsets into the whole value, kept through every step.

use std::ops::Range;

use super::{MAX_LEN, Piece, Reference, ReferenceError, SecretPath, Select, Source, Value, Wrong};

const PREFIXES: [&str; 2] = ["vault:", "bao:"];

/// What stands behind `vault:`.
enum Body {
    Login,
    Reference(Reference),
    Transit(String),
}

/// A part of the value, with its place.
#[derive(Clone, Copy)]
struct Part<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Part<'a> {
    const fn range(self) -> Range<usize> {
        self.at..self.at + self.text.len()
    }

    fn split(self, mark: char) -> (Self, Option<Self>) {
        match self.text.split_once(mark) {
            Some((head, tail)) => (
                Part { text: head, at: self.at },
                Some(Part { text: tail, at: self.at + head.len() + mark.len_utf8() }),
            ),
            None => (self, None),
        }
    }

    fn rsplit(self, mark: char) -> Option<(Self, Self)> {
        let (head, tail) = self.text.rsplit_once(mark)?;
        let at = self.at + head.len() + mark.len_utf8();
        Some((Part { text: head, at: self.at }, Part { text: tail, at }))
    }

    /// Takes `vault:` or `bao:` off, with `>>` before it where a write is meant.
    fn strip_prefix(self) -> Option<(Self, Verb)> {
        let (rest, verb) = match self.text.strip_prefix(">>") {
            Some(rest) => (rest, Verb::Write),
            None => (self.text, Verb::Read),
        };
        let rest = PREFIXES.iter().find_map(|prefix| rest.strip_prefix(prefix))?;
        Some((Part { text: rest, at: self.at + self.text.len() - rest.len() }, verb))
    }
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Verb {
    Read,
    Write,
}

pub(super) fn value(text: &str) -> Result<Value, ReferenceError> {
    let whole = Part { text, at: 0 };
    if let Some((rest, verb)) = whole.strip_prefix() {
        if text.len() > MAX_LEN {
            return Err(wrong(Wrong::TooLong, text.len()..text.len(), 0..0));
        }
        return Ok(match body(rest, verb, whole.range())? {
            Body::Login => Value::Login,
            Body::Reference(reference) => Value::Whole(reference),
            Body::Transit(ciphertext) => Value::Transit(ciphertext),
        });
    }
    composite(text)
}

pub(super) fn source(text: &str) -> Result<Source, ReferenceError> {
    let whole = Part { text, at: 0 };
    let rest = whole.strip_prefix().map_or(whole, |(rest, _)| rest);
    let (location, tail) = rest.split('#');
    let version = tail.map(|part| version(part, whole.range())).transpose()?;
    Ok(Source { path: path(location.text, location.at, whole.range())?, version, write: None })
}

pub(super) fn path(
    text: &str,
    at: usize,
    context: Range<usize>,
) -> Result<SecretPath, ReferenceError> {
    let fail = |kind, span: Range<usize>| Err(wrong(kind, span, context.clone()));
    let all = at..at + text.len();
    let bare = text.strip_prefix('/').unwrap_or(text);
    let start = at + text.len() - bare.len();
    let bare = bare.strip_suffix('/').unwrap_or(bare);
    if bare.is_empty() {
        return fail(Wrong::EmptyPath, all);
    }
    if let Some((offset, c)) = bare.char_indices().find(|(_, c)| c.is_control()) {
        return fail(Wrong::Control, start + offset..start + offset + c.len_utf8());
    }
    if bare.trim() != bare {
        return fail(Wrong::Space, all);
    }
    let mut offset = start;
    for segment in bare.split('/') {
        let span = offset..offset + segment.len();
        match segment {
            "" => return fail(Wrong::EmptySegment, span),
            "." | ".." => return fail(Wrong::Relative, span),
            _ => offset += segment.len() + 1,
        }
    }
    if !bare.contains('/') {
        return fail(Wrong::MountOnly, all);
    }
    Ok(SecretPath(bare.to_owned()))
}

/// Reads text with `${vault:…}` in it. A text without is a literal, however odd it looks.
fn composite(text: &str) -> Result<Value, ReferenceError> {
    let mut pieces = Vec::new();
    let mut plain = String::new();
    let mut rest = Part { text, at: 0 };
    while let Some((before, inside)) = rest.text.split_once("${") {
        let open = rest.at + before.len();
        let inner = Part { text: inside, at: open + 2 };
        plain.push_str(before);
        let Some((after_prefix, verb)) = inner.strip_prefix() else {
            plain.push_str("${");
            rest = inner;
            continue;
        };
        let end = closing(after_prefix.text);
        let Some(close) = end else {
            return Err(wrong(Wrong::Unclosed, text.len()..text.len(), open..text.len()));
        };
        let (within, tail) = after_prefix.text.split_at_checked(close).unwrap_or(("", ""));
        let context = open..after_prefix.at + close + 1;
        if text.len() > MAX_LEN {
            return Err(wrong(Wrong::TooLong, context.clone(), context));
        }
        let parsed = body(Part { text: within, at: after_prefix.at }, verb, context.clone())?;
        if !plain.is_empty() {
            pieces.push(Piece::Text(std::mem::take(&mut plain)));
        }
        pieces.push(match parsed {
            Body::Login => return Err(wrong(Wrong::Login, context.clone(), context)),
            Body::Reference(reference) => Piece::Reference(reference),
            Body::Transit(ciphertext) => Piece::Transit(ciphertext),
        });
        rest =
            Part { text: tail.strip_prefix('}').unwrap_or(tail), at: after_prefix.at + close + 1 };
    }
    if pieces.is_empty() {
        return Ok(Value::Literal);
    }
    plain.push_str(rest.text);
    if !plain.is_empty() {
        pieces.push(Piece::Text(plain));
    }
    Ok(Value::Composite(pieces))
}

/// Where the `}` is that closes a `${`: braces opened in between (JSON, templates) are skipped,
/// and so are braces inside JSON strings.
fn closing(text: &str) -> Option<usize> {
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' if depth > 0 => quoted = !quoted,
            b'{' if !quoted => depth += 1,
            b'}' if !quoted && depth == 0 => return Some(at),
            b'}' if !quoted => depth -= 1,
            _ => {}
        }
    }
    None
}

fn body(part: Part<'_>, verb: Verb, context: Range<usize>) -> Result<Body, ReferenceError> {
    if part.text == "login" {
        return Ok(Body::Login);
    }
    if is_ciphertext(part.text) && verb == Verb::Read {
        let control = part.text.char_indices().find(|(_, c)| c.is_control());
        return match control {
            Some((at, c)) => {
                let at = part.at + at;
                Err(wrong(Wrong::Control, at..at + c.len_utf8(), context))
            }
            None => Ok(Body::Transit(format!("vault:{}", part.text))),
        };
    }
    let (location, rest) = part.split('#');
    let Some(rest) = rest else {
        let end = part.range().end;
        return Err(wrong(Wrong::MissingField, end..end, context));
    };
    let path = path(location.text, location.at, context.clone())?;
    let (select, version, write) = match verb {
        Verb::Read => {
            let (select, version) = read_tail(rest, context)?;
            (select, version, None)
        }
        Verb::Write => {
            let (field, json) = rest.split('#');
            let json = match json {
                Some(json) => json_object(json, context.clone())?,
                None => "{}".to_owned(),
            };
            (select(field, context)?, None, Some(json))
        }
    };
    Ok(Body::Reference(Reference { source: Source { path, version, write }, select }))
}

/// `v1:…`: the rest of a Transit ciphertext, whose key version is a number.
fn is_ciphertext(text: &str) -> bool {
    text.strip_prefix('v').and_then(|rest| rest.split_once(':')).is_some_and(|(version, data)| {
        !version.is_empty() && version.bytes().all(|b| b.is_ascii_digit()) && !data.is_empty()
    })
}

/// `FIELD`, `FIELD#VERSION`, or a template with a version behind its last `#`.
fn read_tail(
    rest: Part<'_>,
    context: Range<usize>,
) -> Result<(Select, Option<u32>), ReferenceError> {
    if is_template(rest.text) {
        if let Some((head, tail)) = rest.rsplit('#')
            && is_template(head.text)
            && !tail.text.is_empty()
            && tail.text.bytes().all(|b| b.is_ascii_digit())
        {
            return Ok((select(head, context.clone())?, Some(version(tail, context)?)));
        }
        return Ok((select(rest, context)?, None));
    }
    let (field, tail) = rest.split('#');
    let version = tail.map(|tail| version(tail, context.clone())).transpose()?;
    Ok((select(field, context)?, version))
}

fn is_template(text: &str) -> bool {
    text.contains("{{") || text.contains("{%") || text.contains("${")
}

fn select(part: Part<'_>, context: Range<usize>) -> Result<Select, ReferenceError> {
    if is_template(part.text) {
        return Ok(Select::Template(part.text.to_owned()));
    }
    if part.text.is_empty() {
        return Err(wrong(Wrong::EmptyField, part.range(), context));
    }
    if part.text.trim() != part.text {
        return Err(wrong(Wrong::Space, part.range(), context));
    }
    match part.text.char_indices().find(|(_, c)| c.is_control()) {
        Some((at, c)) => {
            Err(wrong(Wrong::Control, part.at + at..part.at + at + c.len_utf8(), context))
        }
        None => Ok(Select::Field(part.text.to_owned())),
    }
}

fn version(part: Part<'_>, context: Range<usize>) -> Result<u32, ReferenceError> {
    let digits = !part.text.is_empty() && part.text.bytes().all(|b| b.is_ascii_digit());
    match part.text.parse::<u32>() {
        Ok(number) if digits && number > 0 => Ok(number),
        _ => Err(wrong(Wrong::Version, part.range(), context)),
    }
}

fn json_object(part: Part<'_>, context: Range<usize>) -> Result<String, ReferenceError> {
    if part.text.trim().is_empty() {
        return Ok("{}".to_owned());
    }
    match serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(part.text) {
        Ok(_) => Ok(part.text.to_owned()),
        Err(error) => {
            let at = part.at + offset_of(part.text, error.line(), error.column());
            Err(wrong(Wrong::Body, at..part.range().end, context))
        }
    }
}

/// Where a line and a column, both counted from 1 and the column in bytes, are in a text; in the
/// middle of a character, where it begins.
fn offset_of(text: &str, line: usize, column: usize) -> usize {
    let before: usize = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    let mut at = before.saturating_add(column.saturating_sub(1)).min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

const fn wrong(kind: Wrong, span: Range<usize>, context: Range<usize>) -> ReferenceError {
    ReferenceError { kind, span, context }
}
