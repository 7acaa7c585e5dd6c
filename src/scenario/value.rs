//! Text with `${variables}` that only the run knows.

use std::ops::Range;

/// What stands before the names of values that steps captured.
pub const CAPTURED: &str = "captured.";

/// A text with variables. Variables known when the file is read (`--set`, matrix, environment)
/// are already replaced; what is left is of the run: `listeners.NAME.host`, `listeners.NAME.port`,
/// `users.NAME.password`, `certs.NAME.cert`, `certs.NAME.key`, `certs.NAME.ca`, `captured.NAME`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Part {
    Literal(String),
    Variable(String),
}

/// What is wrong with a template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct TemplateError {
    /// One sentence.
    pub message: String,
    /// Bytes of the text.
    pub span: Range<usize>,
}

impl Template {
    /// A text without variables.
    pub fn literal(text: impl Into<String>) -> Self {
        Self { parts: vec![Part::Literal(text.into())] }
    }

    /// Reads `${name}`; `$${` stands for `${`.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut at = 0;
        while let Some(found) = text[at..].find("${") {
            let start = at + found;
            if text[..start].ends_with('$') {
                literal.push_str(&text[at..start]);
                literal.push('{');
                at = start + 2;
                continue;
            }
            literal.push_str(&text[at..start]);
            let Some(length) = text[start..].find('}') else {
                return Err(TemplateError {
                    message: "a variable `${` without its `}`".into(),
                    span: start..text.len(),
                });
            };
            let name = &text[start + 2..start + length];
            if name.is_empty() {
                return Err(TemplateError {
                    message: "a variable without a name".into(),
                    span: start..start + length + 1,
                });
            }
            if !literal.is_empty() {
                parts.push(Part::Literal(std::mem::take(&mut literal)));
            }
            parts.push(Part::Variable(name.to_owned()));
            at = start + length + 1;
        }
        literal.push_str(&text[at..]);
        if !literal.is_empty() || parts.is_empty() {
            parts.push(Part::Literal(literal));
        }
        Ok(Self { parts })
    }

    /// The text, if there is no variable left.
    pub fn as_literal(&self) -> Option<&str> {
        match self.parts.as_slice() {
            [Part::Literal(text)] => Some(text),
            _ => None,
        }
    }

    /// The names of the variables in it.
    pub fn variables(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Variable(name) => Some(name.as_str()),
            Part::Literal(_) => None,
        })
    }

    /// Replaces those variables that `lookup` knows and keeps the others.
    #[must_use]
    pub fn partially(&self, lookup: impl Fn(&str) -> Option<String>) -> Self {
        let mut text = String::new();
        let mut parts = Vec::new();
        for part in &self.parts {
            match part {
                Part::Literal(literal) => text.push_str(literal),
                Part::Variable(name) => {
                    if let Some(value) = lookup(name) {
                        text.push_str(&value);
                        continue;
                    }
                    if !text.is_empty() {
                        parts.push(Part::Literal(std::mem::take(&mut text)));
                    }
                    parts.push(Part::Variable(name.clone()));
                }
            }
        }
        if !text.is_empty() || parts.is_empty() {
            parts.push(Part::Literal(text));
        }
        Self { parts }
    }

    /// The whole text; the error is the name of a variable that `lookup` does not know.
    pub fn resolve(&self, lookup: impl Fn(&str) -> Option<String>) -> Result<String, String> {
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Literal(literal) => text.push_str(literal),
                Part::Variable(name) => text.push_str(&lookup(name).ok_or_else(|| name.clone())?),
            }
        }
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_literals_and_the_escape() {
        let template = Template::parse("a/${x.y}/$${no}/b").expect("valid");
        assert_eq!(template.variables().collect::<Vec<_>>(), ["x.y"]);
        assert_eq!(template.resolve(|_| Some("1".into())).as_deref(), Ok("a/1/${no}/b"));
        assert_eq!(template.resolve(|_| None), Err("x.y".into()));
        assert_eq!(Template::parse("${x").expect_err("open").span, 0..3);
        assert_eq!(Template::parse("").expect("valid").as_literal(), Some(""));
    }
}
