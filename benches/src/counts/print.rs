//! The tables that are printed.

use std::fmt::Write;

use comfy_table::{CellAlignment, Table, presets};

use super::{Counted, Report};
use crate::peers;

/// All rows beside each other, then where the instructions of popleft go.
pub(super) fn text(report: &Report) -> String {
    let mut text = format!("instructions an operation; {}\n", report.settings);
    text += &table(report);
    for (peer, why) in &report.absent {
        let _ = writeln!(text, "  {peer}: {why}");
    }
    for row in &report.rows {
        let _ = writeln!(text, "\n{} ({:.0})", row.title, row.popleft());
        for function in &row.functions {
            let _ = writeln!(text, "  {:>8.1}  {}", function.instructions, function.name);
        }
    }
    text
}

fn table(report: &Report) -> String {
    let counted = |peer: &str| report.rows.iter().any(|row| row.of(peer).is_some());
    let columns: Vec<_> = peers::ALL.iter().filter(|peer| counted(peer.0)).collect();
    let mut head = vec!["".to_string()];
    head.extend(columns.iter().map(|peer| peer.1.replacen(' ', "\n", 1)));
    head.extend(["kept", "change"].map(String::from));
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(head);
    for row in &report.rows {
        table.add_row(line(row, &columns));
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    let mut text = String::new();
    for line in table.lines() {
        let _ = writeln!(text, " {}", line.trim_end());
    }
    text
}

fn line(row: &Counted, columns: &[&(&str, &str)]) -> Vec<String> {
    let number = |value: f64| format!("{value:.0}");
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_string());
    let mut line = vec![row.title.to_string()];
    line.extend(columns.iter().map(|peer| or_dash(row.of(peer.0).map(number))));
    line.push(or_dash(row.kept.map(number)));
    line.push(or_dash(row.change.map(|change| format!("{change:+.1} %"))));
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counts::{Cell, Function};

    #[test]
    fn what_was_counted_stands_beside_what_is_kept() {
        let cell = |peer, instructions| Cell { peer, instructions };
        let row = Counted {
            row: "spawn",
            title: "spawn + join",
            cells: vec![cell("popleft", 829.4), cell("limit", 253.2)],
            functions: vec![Function { name: "popleft::spawn".to_string(), instructions: 70.25 }],
            kept: Some(800.0),
            change: Some(3.675),
        };
        let report = Report {
            settings: "a compiler".to_string(),
            rows: vec![row],
            absent: vec![("tokio", "a reason".to_string())],
        };
        let text = text(&report);
        let squeezed = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(squeezed.contains("spawn + join 829 253 800 +3.7 %"), "{text}");
        assert!(squeezed.contains("tokio: a reason"), "{text}");
        assert!(squeezed.contains("70.2 popleft::spawn"), "{text}");
    }
}
