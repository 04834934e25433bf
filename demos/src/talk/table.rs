//! All acts in one table, and the same as bars.

use super::verdict::count;
use super::{Played, Report};

const BAR: usize = 36;

/// The numbers of all acts, one act a line.
pub(super) fn table(report: &Report) -> String {
    let width = report.acts.iter().map(|act| act.act.len()).max().unwrap_or(0).max(3);
    let mut text = format!(
        "  {:width$}  {:>13}  {:>13}  {:>11}  {:>14}\n",
        "act", "perf2 alone", "beside perf1", "perf1 alone", "beside another"
    );
    for act in &report.acts {
        let numbers = &act.numbers;
        let waits = match numbers.short_beside {
            0.0 => "  (the second waits)",
            _ => "",
        };
        text += &format!(
            "  {:width$}  {:>11}/s  {:>11}/s  {:>9.3} s  {:>12.3} s{waits}\n",
            act.act,
            count(numbers.short_alone),
            count(numbers.short_beside),
            numbers.long_alone,
            numbers.long_beside,
        );
    }
    text
}

/// perf2's rates as bars: alone, and beside perf1.
pub(super) fn bars(report: &Report) -> String {
    let rates = |act: &Played| [act.numbers.short_alone, act.numbers.short_beside];
    let most = report.acts.iter().flat_map(rates).fold(1.0, f64::max);
    let width = report.acts.iter().map(|act| act.act.len()).max().unwrap_or(0);
    let mut text = String::from("  perf2, requests/s: alone, and beside perf1\n");
    for act in &report.acts {
        for (name, rate) in [(act.act, act.numbers.short_alone), ("", act.numbers.short_beside)] {
            text += &format!("  {name:width$}  {:BAR$}  {}\n", bar(rate / most), count(rate));
        }
    }
    text
}

/// A bar of this share of the width, in eighths of a character.
fn bar(share: f64) -> String {
    let eighths = (share * BAR as f64 * 8.0).round() as usize;
    let mut bar = "█".repeat(eighths / 8);
    if let Some(rest) = ["▏", "▎", "▍", "▌", "▋", "▊", "▉"].get((eighths % 8).wrapping_sub(1))
    {
        bar += rest;
    }
    bar
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::talk::measure::Numbers;
    use crate::talk::{Played, Report};

    pub(crate) fn report() -> Report {
        let act = |act, short_beside, long_beside, left_waiting| Played {
            act,
            title: "A <title> & more",
            server: format!("fib-{act}"),
            numbers: Numbers {
                short_alone: 20_000.0,
                short_beside,
                long_alone: 0.1,
                long_beside,
                left_waiting,
            },
        };
        Report {
            version: "0.1.0",
            processors: 2,
            optimised: true,
            n: 38,
            fib_seconds: 0.1,
            window_seconds: 1.0,
            acts: vec![
                act("sequential", 0.0, 0.1, 1),
                act("threads", 10_000.0, 0.2, 0),
                act("generators-inline", 4.0, 0.2, 0),
            ],
        }
    }

    #[test]
    fn the_table_has_a_line_an_act_and_columns_that_line_up() {
        let table = table(&report());
        let lines: Vec<_> = table.lines().collect();
        assert_eq!(lines.len(), 4);
        assert!(lines[1].contains("sequential") && lines[1].contains("the second waits"));
        assert!(lines[2].contains("20,000/s") && lines[2].contains("0.200 s"));
        assert!(lines[3].contains("4/s"));
        assert_eq!(lines[0].len(), lines[2].len());
    }

    #[test]
    fn bars_are_as_long_as_their_share() {
        assert_eq!(bar(1.0).chars().count(), BAR);
        assert_eq!(bar(0.5), "█".repeat(BAR / 2));
        assert_eq!(bar(0.0), "");
        assert_eq!(bar(1.0 / (8 * BAR) as f64), "▏");
        assert_eq!(bars(&report()).lines().count(), 7);
    }
}
