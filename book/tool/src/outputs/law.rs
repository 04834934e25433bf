//! The laws that measured outputs obey: comparisons of values, such as `beside < 0.1 * alone and alone > 100`.
//!
//! ```text
//! law        = clause ("or" clause)*
//! clause     = comparison ("and" comparison)*
//! comparison = sum (("<" | "<=" | ">" | ">=" | "==" | "!=") sum)+
//! sum        = product (("+" | "-") product)*
//! product    = atom (("*" | "/") atom)*
//! atom       = number | name | "-" atom | "(" sum ")"
//! ```
//! `a < b < c` means `a < b and b < c`. A minus stands between spaces, for names may hold one. A name is a value of the same run, or `run.key` of another.

/// A law that was understood.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Law {
    /// One of these must hold in full.
    clauses: Vec<Vec<Comparison>>,
}

#[derive(Debug, Clone, PartialEq)]
struct Comparison {
    first: Sum,
    rest: Vec<(Relation, Sum)>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Relation {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Equal,
    NotEqual,
}

/// A tree of sums and products.
#[derive(Debug, Clone, PartialEq)]
enum Sum {
    Number(f64),
    Name(String),
    Negative(Box<Sum>),
    Operation(Box<Sum>, char, Box<Sum>),
}

impl Law {
    pub(super) fn parse(text: &str) -> Result<Law, String> {
        let words = words(text)?;
        let mut parser = Parser { words, at: 0 };
        let law = parser.law()?;
        match parser.peek() {
            None => Ok(law),
            Some(word) => Err(format!("unexpected `{word}`")),
        }
    }

    /// Whether it holds; `value` knows the names.
    pub(super) fn holds(
        &self,
        value: &dyn Fn(&str) -> Result<f64, String>,
    ) -> Result<bool, String> {
        let mut any = false;
        for clause in &self.clauses {
            let mut all = true;
            for comparison in clause {
                all &= comparison.holds(value)?;
            }
            any |= all;
        }
        Ok(any)
    }

    /// The names in it, each once, in order.
    pub(super) fn names(&self) -> Vec<String> {
        let mut found = Vec::new();
        for comparison in self.clauses.iter().flatten() {
            comparison.first.names(&mut found);
            for (_, sum) in &comparison.rest {
                sum.names(&mut found);
            }
        }
        found
    }
}

impl Comparison {
    fn holds(&self, value: &dyn Fn(&str) -> Result<f64, String>) -> Result<bool, String> {
        let mut left = self.first.value(value)?;
        let mut holds = true;
        for (relation, sum) in &self.rest {
            let right = sum.value(value)?;
            holds &= relation.holds(left, right);
            left = right;
        }
        Ok(holds)
    }
}

impl Relation {
    fn holds(self, left: f64, right: f64) -> bool {
        match self {
            Relation::Less => left < right,
            Relation::LessOrEqual => left <= right,
            Relation::Greater => left > right,
            Relation::GreaterOrEqual => left >= right,
            Relation::Equal => left == right,
            Relation::NotEqual => left != right,
        }
    }

    fn of(word: &str) -> Option<Relation> {
        Some(match word {
            "<" => Relation::Less,
            "<=" => Relation::LessOrEqual,
            ">" => Relation::Greater,
            ">=" => Relation::GreaterOrEqual,
            "==" => Relation::Equal,
            "!=" => Relation::NotEqual,
            _ => return None,
        })
    }
}

impl Sum {
    fn value(&self, value: &dyn Fn(&str) -> Result<f64, String>) -> Result<f64, String> {
        Ok(match self {
            Sum::Number(number) => *number,
            Sum::Name(name) => value(name)?,
            Sum::Negative(sum) => -sum.value(value)?,
            Sum::Operation(left, operator, right) => {
                let (left, right) = (left.value(value)?, right.value(value)?);
                match operator {
                    '+' => left + right,
                    '-' => left - right,
                    '*' => left * right,
                    _ => left / right,
                }
            }
        })
    }

    fn names(&self, found: &mut Vec<String>) {
        match self {
            Sum::Number(_) => {}
            Sum::Name(name) if found.contains(name) => {}
            Sum::Name(name) => found.push(name.clone()),
            Sum::Negative(sum) => sum.names(found),
            Sum::Operation(left, _, right) => {
                left.names(found);
                right.names(found);
            }
        }
    }
}

fn words(text: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let is_name = |c: char| c.is_alphanumeric() || c == '_' || c == '.';
        // A minus inside a name belongs to it when a letter follows: `talk-quick.rate`.
        let length = if is_name(first) {
            let mut length = 0;
            for (at, c) in rest.char_indices() {
                let after = rest[at + c.len_utf8()..].chars().next();
                let joins =
                    c == '-' && first.is_alphabetic() && after.is_some_and(char::is_alphabetic);
                if !is_name(c) && !joins {
                    break;
                }
                length = at + c.len_utf8();
            }
            length
        } else {
            ["<=", ">=", "==", "!="]
                .into_iter()
                .find(|two| rest.starts_with(two))
                .or_else(|| "<>+-*/()".contains(first).then_some("."))
                .map(str::len)
                .ok_or_else(|| format!("unexpected `{first}`"))?
        };
        words.push(rest[..length].to_string());
        rest = rest[length..].trim_start();
    }
    Ok(words)
}

struct Parser {
    words: Vec<String>,
    at: usize,
}

impl Parser {
    fn peek(&self) -> Option<&str> {
        self.words.get(self.at).map(String::as_str)
    }

    fn take(&mut self, word: &str) -> bool {
        let is_next = self.peek() == Some(word);
        if is_next {
            self.at += 1;
        }
        is_next
    }

    fn law(&mut self) -> Result<Law, String> {
        let mut clauses = vec![self.clause()?];
        while self.take("or") {
            clauses.push(self.clause()?);
        }
        Ok(Law { clauses })
    }

    fn clause(&mut self) -> Result<Vec<Comparison>, String> {
        let mut comparisons = vec![self.comparison()?];
        while self.take("and") {
            comparisons.push(self.comparison()?);
        }
        Ok(comparisons)
    }

    fn comparison(&mut self) -> Result<Comparison, String> {
        let first = self.sum()?;
        let mut rest = Vec::new();
        while let Some(relation) = self.peek().and_then(Relation::of) {
            self.at += 1;
            rest.push((relation, self.sum()?));
        }
        if rest.is_empty() {
            return Err("a law compares: it needs < <= > >= == or !=".to_string());
        }
        Ok(Comparison { first, rest })
    }

    fn sum(&mut self) -> Result<Sum, String> {
        let mut left = self.product()?;
        while let Some(operator @ ("+" | "-")) = self.peek() {
            let operator = if operator == "+" { '+' } else { '-' };
            self.at += 1;
            left = Sum::Operation(Box::new(left), operator, Box::new(self.product()?));
        }
        Ok(left)
    }

    fn product(&mut self) -> Result<Sum, String> {
        let mut left = self.atom()?;
        while let Some(operator @ ("*" | "/")) = self.peek() {
            let operator = if operator == "*" { '*' } else { '/' };
            self.at += 1;
            left = Sum::Operation(Box::new(left), operator, Box::new(self.atom()?));
        }
        Ok(left)
    }

    fn atom(&mut self) -> Result<Sum, String> {
        let word = self.peek().ok_or("it ends too early")?.to_string();
        self.at += 1;
        if word == "-" {
            return Ok(Sum::Negative(Box::new(self.atom()?)));
        }
        if word == "(" {
            let sum = self.sum()?;
            return if self.take(")") { Ok(sum) } else { Err("`)` is missing".to_string()) };
        }
        if word.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
            let plain = word.replace('_', "");
            return plain.parse().map(Sum::Number).map_err(|_| format!("`{word}` is no number"));
        }
        if word.starts_with(|c: char| c.is_alphabetic() || c == '_') {
            return Ok(Sum::Name(word));
        }
        Err(format!("unexpected `{word}`"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(text: &str) -> Result<bool, String> {
        let value = |name: &str| match name {
            "a" => Ok(2.0),
            "b" => Ok(10.0),
            "talk-quick.rate" => Ok(100.0),
            other => Err(format!("no value {other}")),
        };
        Law::parse(text)?.holds(&value)
    }

    #[test]
    fn laws_compare_sums_and_products() {
        for law in [
            "a < b",
            "a + 3 * 4 == 14",
            "(a + 3) * 4 == 20",
            "b / a - 1 >= 4",
            "-a < 0",
            "1 < a < b",
            "a != b and b <= 10",
            "a > b or b > a",
            "a < 0.1 * talk-quick.rate",
            "b - a == 8 or talk-quick.rate > 1_00.5 - 1",
        ] {
            assert_eq!(holds(law), Ok(true), "{law}");
        }
        for law in ["a > b", "1 < b < a", "a < b and b < a", "a > b or b < a", "b - a == 7"] {
            assert_eq!(holds(law), Ok(false), "{law}");
        }
    }

    #[test]
    fn what_is_no_law_is_an_error() {
        for text in ["", "a", "a <", "a < (b", "a < b c", "a & b", "c < 1", "1.2.3 < 4"] {
            assert!(holds(text).is_err(), "{text}");
        }
    }

    #[test]
    fn names_come_once() {
        let law = Law::parse("a < b and a < x.y").unwrap();
        assert_eq!(law.names(), ["a", "b", "x.y"]);
    }
}
