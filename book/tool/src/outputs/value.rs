//! A number or a text taken from an output: by regex, or by JSON pointer.

use super::Recording;
use anyhow::{Context, Result, bail};
use regex::Regex;
use serde::Deserialize;
use std::fmt;

/// How a value is taken, an entry of `values` in `book/outputs.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Extraction {
    /// Its first group is the value.
    regex: Option<String>,
    /// A JSON pointer: `/acts/0/rate`.
    json: Option<String>,
    /// In this file that the run wrote, rather than in what it printed.
    file: Option<String>,
    /// Which of several matches.
    #[serde(default)]
    pick: Pick,
    #[serde(default = "one")]
    scale: f64,
    /// Digits after the point when it is shown.
    digits: Option<usize>,
}

fn one() -> f64 {
    1.0
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Pick {
    #[default]
    First,
    Last,
    Min,
    Max,
    Mean,
    Median,
    Sum,
    Count,
}

/// What was found, as it is shown in a sentence.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Number { number: f64, digits: Option<usize> },
    Text(String),
}

impl Value {
    pub(super) fn number(&self) -> Option<f64> {
        match self {
            Value::Number { number, .. } => Some(*number),
            Value::Text(_) => None,
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Text(text) => f.write_str(text),
            Value::Number { number, digits } => {
                let text = match digits {
                    Some(digits) => format!("{number:.digits$}"),
                    None => format!("{number}"),
                };
                f.write_str(&with_thousands(&text))
            }
        }
    }
}

/// `12345.6` -> `12,345.6`; four digits stay as they are.
fn with_thousands(text: &str) -> String {
    let whole_end = text.find('.').unwrap_or(text.len());
    let (whole, fraction) = text.split_at(whole_end);
    let digits = whole.trim_start_matches('-');
    if digits.len() < 5 || !digits.chars().all(|c| c.is_ascii_digit()) {
        return text.to_string();
    }
    let mut out = whole[..whole.len() - digits.len()].to_string();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out + fraction
}

impl Extraction {
    pub(super) fn validate(&self, files: &[String]) -> Result<()> {
        match (&self.regex, &self.json) {
            (Some(pattern), None) => {
                let regex = Regex::new(pattern).with_context(|| pattern.clone())?;
                if regex.captures_len() < 2 && self.pick != Pick::Count {
                    bail!("`{pattern}` has no group to take the value from");
                }
            }
            (None, Some(_)) => {}
            _ => bail!("a value has either `regex` or `json`"),
        }
        if let Some(file) = &self.file
            && !files.contains(file)
        {
            bail!("the run's `files` do not name `{file}`");
        }
        Ok(())
    }

    pub(super) fn extract(&self, recording: &Recording) -> Result<Value, String> {
        let text = match &self.file {
            None => &recording.text,
            Some(file) => {
                recording.files.get(file).ok_or_else(|| format!("the run wrote no `{file}`"))?
            }
        };
        let found = match (&self.regex, &self.json) {
            (Some(pattern), _) => matches(pattern, text)?,
            (_, Some(pointer)) => vec![pointed(pointer, text)?],
            (None, None) => Vec::new(),
        };
        self.picked(&found)
    }

    fn picked(&self, found: &[String]) -> Result<Value, String> {
        if self.pick == Pick::Count {
            return Ok(self.value(found.len() as f64));
        }
        let (Some(first), Some(last)) = (found.first(), found.last()) else {
            let what = self.regex.as_deref().or(self.json.as_deref()).unwrap_or("");
            return Err(format!("nothing matches `{what}`"));
        };
        let one = match self.pick {
            Pick::First => first,
            Pick::Last => last,
            _ => return self.reduced(found),
        };
        Ok(match number(one) {
            Some(number) => self.value(number),
            None => Value::Text(one.clone()),
        })
    }

    fn reduced(&self, found: &[String]) -> Result<Value, String> {
        let mut numbers = Vec::new();
        for text in found {
            numbers.push(number(text).ok_or_else(|| format!("`{text}` is no number"))?);
        }
        numbers.sort_by(f64::total_cmp);
        let count = numbers.len();
        let sum: f64 = numbers.iter().sum();
        Ok(self.value(match self.pick {
            Pick::Min => numbers[0],
            Pick::Max => numbers[count - 1],
            Pick::Median => (numbers[(count - 1) / 2] + numbers[count / 2]) / 2.0,
            Pick::Mean => sum / count as f64,
            _ => sum,
        }))
    }

    fn value(&self, number: f64) -> Value {
        Value::Number { number: number * self.scale, digits: self.digits }
    }
}

fn matches(pattern: &str, text: &str) -> Result<Vec<String>, String> {
    let multi_line = format!("(?m){pattern}");
    let regex = Regex::new(&multi_line).map_err(|error| error.to_string())?;
    let found = regex.captures_iter(text).map(|captures| {
        let group = captures.get(1).or_else(|| captures.get(0));
        group.map_or(String::new(), |group| group.as_str().to_string())
    });
    Ok(found.collect())
}

fn pointed(pointer: &str, text: &str) -> Result<String, String> {
    let json: serde_json::Value =
        serde_json::from_str(text).map_err(|error| format!("not JSON: {error}"))?;
    match json.pointer(pointer) {
        Some(serde_json::Value::String(text)) => Ok(text.clone()),
        Some(other) => Ok(other.to_string()),
        None => Err(format!("the JSON has nothing at `{pointer}`")),
    }
}

/// `1,234.5` and `1_234` are numbers too.
fn number(text: &str) -> Option<f64> {
    let plain: String = text.trim().chars().filter(|c| *c != ',' && *c != '_').collect();
    plain.parse().ok().filter(|number: &f64| number.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(toml: &str, text: &str) -> Result<Value, String> {
        let extraction: Extraction = toml::from_str(toml).unwrap();
        extraction.extract(&Recording {
            text: text.to_string(),
            files: [("f.json".to_string(), "{\"a\": [1, {\"b\": 2.5}]}".to_string())].into(),
        })
    }

    #[test]
    fn values_are_picked_scaled_and_rounded() {
        let text = "3 req\n1,000 req\n2 req\n";
        let shown = |pick: &str| {
            let toml = format!("regex = '([\\d,]+) req'\npick = '{pick}'");
            taken(&toml, text).unwrap().to_string()
        };
        assert_eq!(shown("first"), "3");
        assert_eq!(shown("last"), "2");
        assert_eq!(shown("min"), "2");
        assert_eq!(shown("max"), "1000");
        assert_eq!(shown("median"), "3");
        assert_eq!(shown("mean"), "335");
        assert_eq!(shown("sum"), "1005");
        assert_eq!(shown("count"), "3");
        let scaled = taken("regex = '^(\\d) req'\nscale = 12345.67\ndigits = 1", text).unwrap();
        assert_eq!(scaled.to_string(), "37,037.0");
    }

    #[test]
    fn a_json_pointer_reads_a_file_that_the_run_wrote() {
        let value = taken("file = 'f.json'\njson = '/a/1/b'", "").unwrap();
        assert_eq!(value.number(), Some(2.5));
        assert!(taken("file = 'f.json'\njson = '/a/7'", "").is_err());
        assert!(taken("file = 'g.json'\njson = '/a'", "").is_err());
    }

    #[test]
    fn what_is_no_number_is_text_and_what_is_not_there_an_error() {
        assert_eq!(taken("regex = 'task (\\w+)'", "task main"), Ok(Value::Text("main".into())));
        assert!(taken("regex = 'task (\\w+)'", "nothing").is_err());
        assert!(taken("regex = 'task (\\w+)'\npick = 'max'", "task main").is_err());
    }
}
