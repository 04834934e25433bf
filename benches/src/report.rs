//! What is printed: the tables as text, and the same as a page.

use std::fmt::Write;

use comfy_table::{CellAlignment, Table, presets};

use crate::bench::results::{Cell, Measured, Report, Spin, Spread, is_reached};
use crate::peers;
use crate::rows::{self, Goal, Row};

/// A table, whatever it will be shown as.
struct Sheet {
    title: String,
    head: Vec<String>,
    rows: Vec<Vec<String>>,
    notes: Vec<String>,
}

/// All tables for a terminal or a file.
pub fn text(report: &Report) -> String {
    let mut text = format!("{}\n{}\n", report.machine, report.settings);
    for sheet in sheets(report) {
        let mut table = Table::new();
        table.load_preset(presets::NOTHING).set_header(&sheet.head).add_rows(&sheet.rows);
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        let _ = write!(text, "\n{}\n", sheet.title);
        for line in table.lines() {
            let _ = writeln!(text, " {}", line.trim_end());
        }
        for note in &sheet.notes {
            let _ = writeln!(text, "  {note}");
        }
    }
    text
}

const STYLE: &str = "\
:root { color-scheme: light dark; --ink: #1d2733; --paper: #fff; --soft: #667; --line: #dde; --ours: #3367a822; }
@media (prefers-color-scheme: dark) { :root { --ink: #dfe5ec; --paper: #14181d; --soft: #9ab; --line: #334; } }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 80rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin-top: 2rem; } p { color: var(--soft); margin: .2rem 0; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .8rem .3rem 0; text-align: right; border-bottom: 1px solid var(--line); white-space: pre-line; vertical-align: bottom; }
th:first-child, td:first-child { text-align: left; min-width: 14rem; } td:nth-child(2) { background: var(--ours); }
";

/// All tables as one page with nothing to load.
pub fn html(report: &Report) -> String {
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>popleft beside its peers</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n\
         <h1>popleft beside its peers</h1>\n<p>{}</p>\n<p>{}</p>\n",
        escaped(&report.machine),
        escaped(&report.settings)
    );
    for sheet in sheets(report) {
        let _ =
            write!(page, "<h2>{}</h2>\n<div class=\"scroll\"><table>\n<tr>", escaped(&sheet.title));
        for cell in &sheet.head {
            let _ = write!(page, "<th>{}</th>", escaped(cell));
        }
        page += "</tr>\n";
        for row in &sheet.rows {
            page += "<tr>";
            for cell in row {
                let _ = write!(page, "<td>{}</td>", escaped(cell));
            }
            page += "</tr>\n";
        }
        page += "</table></div>\n";
        for note in &sheet.notes {
            let _ = writeln!(page, "<p>{}</p>", escaped(note));
        }
    }
    page + "</body>\n</html>\n"
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn sheets(report: &Report) -> Vec<Sheet> {
    let mut sheets = vec![];
    if !report.rows.is_empty() {
        sheets.push(cost(report));
        sheets.extend(besides(report));
    }
    if !report.grown.is_empty() {
        sheets.push(grown(report));
    }
    let kinds = [
        ("How late timers fire, us", &report.lateness),
        ("How long an echo takes, us", &report.latency),
    ];
    for (title, spreads) in kinds {
        if !spreads.is_empty() {
            sheets.push(spread(title, spreads));
        }
    }
    if !report.spin.is_empty() {
        sheets.push(spin(report));
    }
    if !report.share.is_empty() {
        sheets.push(share(report));
    }
    sheets
}

/// Those who took part in any row, in the order of [`peers::ALL`].
fn columns(report: &Report) -> Vec<&'static str> {
    let took_part = |peer: &str| report.rows.iter().any(|row| row.of(peer).is_some());
    peers::ALL.iter().map(|peer| peer.0).filter(|peer| took_part(peer)).collect()
}

fn title_of(peer: &str) -> String {
    let title = peers::ALL.iter().find(|known| known.0 == peer).map_or(peer, |known| known.1);
    title.replacen(' ', "\n", 1)
}

fn cost(report: &Report) -> Sheet {
    let columns = columns(report);
    let mut head = vec!["".to_string()];
    head.extend(columns.iter().map(|peer| title_of(peer)));
    head.extend(["of best\npeer", "of\nlimit", "to reach"].map(String::from));
    let mut sheet = Sheet { title: "What it costs".to_string(), head, rows: vec![], notes: vec![] };
    let (mut reached, mut goals) = (0, 0);
    for measured in &report.rows {
        let mut row = vec![format!("{}, {}", measured.title, measured.unit)];
        row.extend(columns.iter().map(|peer| measured.of(peer).map_or("-".to_string(), short)));
        let ours = measured.of("popleft");
        row.push(ratio(ours, measured.best_peer(|_| true)));
        row.push(ratio(ours, measured.of("limit")));
        let mut verdicts = vec![];
        for &goal in rows::find(measured.row).map_or(&[][..], |row| row.goals) {
            if let Some(is_reached) = is_reached(goal, measured) {
                goals += 1;
                reached += usize::from(is_reached);
                verdicts.push(format!("{} {}", words(goal), if is_reached { "yes" } else { "NO" }));
            }
        }
        row.push(verdicts.join(", "));
        sheet.rows.push(row);
    }
    if goals > 0 {
        sheet.notes.push(format!("reached: {reached} of {goals}"));
    }
    let noted = |measured: &Measured| rows::find(measured.row).filter(|row| !row.note.is_empty());
    let note = |row: &Row| format!("{}: {}", row.title, row.note);
    sheet.notes.extend(report.rows.iter().filter_map(noted).map(note));
    let mut absent: Vec<_> = report.rows.iter().flat_map(|row| &row.absent).collect();
    absent.sort();
    absent.dedup();
    let is_out = |(peer, _): &&&(&str, String)| !columns.contains(peer);
    sheet.notes.extend(absent.iter().filter(is_out).map(|(peer, why)| format!("{peer}: {why}")));
    sheet
}

fn words(goal: Goal) -> String {
    match goal {
        Goal::OfBestAtMost(times) => format!("<= {times} of best:"),
        Goal::OfLimitAtMost(times) => format!("<= {times} of limit:"),
        Goal::OfLimitAtLeast(share) => format!(">= {share} of limit:"),
        Goal::AheadOnEpoll => "ahead on epoll:".to_string(),
        Goal::AtMost(number) => format!("<= {number}:"),
    }
}

/// Processor time, system calls and allocations, where they were counted.
fn besides(report: &Report) -> Vec<Sheet> {
    type Pick = fn(&Cell) -> Option<f64>;
    let kinds: [(&str, Pick); 3] = [
        ("Processor time of each, ns", |cell| cell.cpu),
        ("Allocations of each", |cell| cell.allocations),
        ("System calls of each request", |cell| cell.syscalls),
    ];
    let columns = columns(report);
    let mut sheets = vec![];
    for (title, pick) in kinds {
        let counted = |row: &&Measured| row.cells.iter().any(|cell| pick(cell).is_some());
        let rows: Vec<_> = report.rows.iter().filter(counted).collect();
        if rows.is_empty() {
            continue;
        }
        let mut head = vec!["".to_string()];
        head.extend(columns.iter().map(|peer| title_of(peer)));
        let cells = |row: &&Measured| {
            let of = |peer: &&str| row.cells.iter().find(|cell| cell.peer == *peer).and_then(pick);
            let mut cells = vec![row.title.to_string()];
            cells.extend(columns.iter().map(|peer| of(peer).map_or("-".to_string(), short)));
            cells
        };
        sheets.push(Sheet {
            title: title.to_string(),
            head,
            rows: rows.iter().map(cells).collect(),
            notes: vec![],
        });
    }
    sheets
}

fn grown(report: &Report) -> Sheet {
    let head = ["", "10^2", "10^3", "10^4", "10^5", "10^6", "grows", "to reach"];
    let rows = report.grown.iter().map(|grown| {
        let mut row = vec![format!("{}, {}", grown.title, grown.unit)];
        let power = |step: &&(u64, f64)| (step.0 as f64).log10().round() as u32;
        let cost = |wanted| grown.steps.iter().find(|step| power(step) == wanted);
        row.extend((2..=6).map(|power| cost(power).map_or("-".to_string(), |step| short(step.1))));
        row.push(format!("{:.2}", grown.grows));
        row.push(match (grown.has_goal, grown.grows <= 1.5) {
            (true, true) => "<= 1.5: yes".to_string(),
            (true, false) => "<= 1.5: NO".to_string(),
            (false, _) => "".to_string(),
        });
        row
    });
    Sheet {
        title: "What an operation of popleft costs beside so many others".to_string(),
        head: head.map(String::from).to_vec(),
        rows: rows.collect(),
        notes: vec![
            "all tasks in turn: with many of them each is out of the caches when its turn comes"
                .to_string(),
        ],
    }
}

fn spread(title: &str, spreads: &[Spread]) -> Sheet {
    let row = |spread: &Spread| {
        let title = title_of(spread.peer).replace('\n', " ");
        let values = [spread.p50, spread.p99, spread.p999].map(short);
        let mut row = vec![format!("{title}, {}", spread.title)];
        row.extend(values);
        row
    };
    Sheet {
        title: title.to_string(),
        head: ["", "p50", "p99", "p99.9"].map(String::from).to_vec(),
        rows: spreads.iter().map(row).collect(),
        notes: vec![],
    }
}

fn spin(report: &Report) -> Sheet {
    let row = |spin: &Spin| vec![spin.title.to_string(), short(spin.rate), short(spin.cpu)];
    Sheet {
        title: "One connection across two cores".to_string(),
        head: ["", "requests/s", "server CPU, us"].map(String::from).to_vec(),
        rows: report.spin.iter().map(row).collect(),
        notes: vec![],
    }
}

fn share(report: &Report) -> Sheet {
    let rows = report.share.iter().map(|kept| {
        vec![
            kept.server.clone(),
            short(kept.alone),
            short(kept.beside),
            format!("{:.2}", kept.kept),
        ]
    });
    Sheet {
        title: "What perf2 keeps beside one perf1, requests/s".to_string(),
        head: ["", "alone", "beside perf1", "kept"].map(String::from).to_vec(),
        rows: rows.collect(),
        notes: vec![
            "cores apart: loop and perf2 on one core, the computing thread on the other"
                .to_string(),
            "the other core busy: the same, but what computes there is another program; what is \
             lost so is the machine's, whose cores share more than they say"
                .to_string(),
        ],
    }
}

fn ratio(ours: Option<f64>, theirs: Option<f64>) -> String {
    match (ours, theirs) {
        (Some(ours), Some(theirs)) if theirs > 0.0 => format!("{:.2}", ours / theirs),
        _ => "-".to_string(),
    }
}

/// Three digits that count.
fn short(value: f64) -> String {
    match value.abs() {
        f64::INFINITY => "never".to_string(),
        v if v >= 99.95 => format!("{value:.0}"),
        v if v >= 9.995 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_digits_count() {
        assert_eq!(
            [0.0, 1.234, 12.34, 123.4, 1234.5].map(short),
            ["0.00", "1.23", "12.3", "123", "1234"]
        );
    }

    #[test]
    fn what_was_measured_stands_in_both_and_nothing_is_markup() {
        let measured = Measured {
            row: "yield-1",
            title: "one task yields",
            unit: "ns",
            lower_is_better: true,
            cells: vec![Cell {
                peer: "popleft",
                value: 10.5,
                rounds: vec![10.5],
                cpu: Some(10.4),
                allocations: Some(0.0),
                syscalls: None,
            }],
            absent: vec![("tokio", "a <reason>".to_string())],
        };
        let report =
            Report { machine: "a & b".to_string(), rows: vec![measured], ..Report::default() };
        let text = text(&report);
        assert!(text.contains("one task yields, ns") && text.contains("10.5"), "{text}");
        assert!(text.contains("tokio: a <reason>"), "{text}");
        let page = html(&report);
        assert!(page.contains("a &amp; b") && page.contains("a &lt;reason&gt;"), "{page}");
        assert!(!page.contains("http"));
    }
}
