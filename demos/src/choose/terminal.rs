//! The runs as text: for each style a line of waiting and a line of computing, on one time axis.

use super::amount;
use super::report::{Report, Run};

/// How many columns the time axis has.
pub(super) const COLUMNS: usize = 64;

const WAITING: [char; 5] = [' ', '░', '▒', '▓', '█'];
const COMPUTING: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// All of the runs, and how to read them.
pub(super) fn picture(report: &Report) -> String {
    let bold = anstyle::Style::new().bold();
    let wait = anstyle::AnsiColor::Cyan.on_default();
    let compute = anstyle::AnsiColor::Yellow.on_default();
    let mut text = String::new();
    for run in &report.runs {
        let waiting = drawn(&run.waiting, report.most_waiting() as f64, &WAITING);
        let computing = drawn(&run.computing, report.work.processors as f64, &COMPUTING);
        text += &format!("\n{bold}{:<21}{bold:#}{}\n", run.style.title(), numbers(run));
        text += &format!("  waiting    {wait}{waiting}{wait:#}\n");
        text += &format!("  computing  {compute}{computing}{compute:#}\n");
    }
    let longest = amount::time(report.longest());
    text += &format!("             0{:->width$}\n", format!(" {longest}"), width = COLUMNS - 1);
    let mut key = vec![];
    if report.most_waiting() > 0 {
        key.push(format!("waiting: {} is {}", WAITING[4], items(report.most_waiting())));
    }
    key.push(format!("computing: {} is {}", COMPUTING[8], processors(report.work.processors)));
    text + &format!("             {}\n", key.join("; "))
}

fn numbers(run: &Run) -> String {
    let ratio = match run.ratio {
        ..1.005 => String::from("the shortest"),
        ratio => format!("{} times as long", amount::times(ratio)),
    };
    let seconds = amount::time(run.seconds);
    let at_once = match (run.most_waiting, run.computing_at_once) {
        (0, 0.0) => String::new(),
        (0, computing) => format!("{computing:.1} computed at once"),
        (waiting, 0.0) => format!("{} waited at once", amount::count(waiting)),
        (waiting, computing) => {
            format!("{} waited, {computing:.1} computed at once", amount::count(waiting))
        }
    };
    format!("{seconds:>8}  {ratio:<21}  {at_once}").trim_end().to_string()
}

/// `1 item`, `40 items`.
pub(super) fn items(number: usize) -> String {
    match number {
        1 => String::from("1 item"),
        number => format!("{} items", amount::count(number)),
    }
}

/// `one processor`, `2 processors`.
pub(super) fn processors(number: usize) -> String {
    match number {
        1 => String::from("one processor"),
        number => format!("{number} processors"),
    }
}

/// Each number as a character: the more of `most`, the darker or higher. What is not nothing can
/// be seen.
fn drawn(numbers: &[f64], most: f64, characters: &[char]) -> String {
    let last = characters.len() - 1;
    let character = |number: &f64| match *number {
        0.0 => characters[0],
        number => characters[((number / most * last as f64).round() as usize).clamp(1, last)],
    };
    numbers.iter().map(character).collect::<String>().trim_end().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::choose::report::tests::report;

    #[test]
    fn each_style_has_its_two_lines_on_the_same_axis() {
        let text = anstream::adapter::strip_str(&picture(&report())).to_string();
        assert_eq!(text.matches("  waiting ").count(), 2);
        assert_eq!(text.matches("  computing ").count(), 2);
        assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
        assert!(text.contains("the shortest") && text.contains("2.0 times as long"), "{text}");
        let axis = text.lines().find(|line| line.contains("---")).unwrap();
        assert_eq!(axis.chars().count(), 13 + COLUMNS);
    }

    #[test]
    fn more_is_darker_and_little_is_not_nothing() {
        assert_eq!(drawn(&[0.0, 0.001, 20.0, 40.0], 40.0, &WAITING), " ░▒█");
        assert_eq!(drawn(&[0.01, 1.0, 2.0, 2.1, 0.0], 2.0, &COMPUTING), "▁▄██");
        assert_eq!(drawn(&[0.0], 0.0, &WAITING), "");
    }
}
