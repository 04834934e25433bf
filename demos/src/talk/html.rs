//! The numbers as one page, with bars in SVG.

use super::verdict::count;
use super::{Played, Report};
use crate::page::escape;

const WIDTH: f64 = 640.0;
const ROW: f64 = 46.0;
/// Where the bars begin and how long the longest is; the number stands behind it.
const LEFT: f64 = 8.0;
const LONGEST: f64 = 500.0;

const STYLE: &str = "\
p { color: var(--soft); } .one { fill: var(--blue); } .two { fill: var(--orange); }
";

pub(super) fn page(report: &Report) -> String {
    let build = if report.optimised { "" } else { ", not optimised" };
    let short = chart(report, "requests/s", |act| {
        let numbers = &act.numbers;
        [numbers.short_alone, numbers.short_beside]
    });
    let long = chart(report, "ms", |act| {
        let numbers = &act.numbers;
        [numbers.long_alone * 1e3, numbers.long_beside * 1e3]
    });
    let content = format!(
        "<p>{processors} processors{build}; perf1 asks for fib({n}), {fib:.0} ms without a server; \
         each number is from {window:.1} s.</p>\n\
         <h2>perf2: short requests a second</h2>\n<figure>\n{short}\
         <figcaption>Upper bar: alone. Lower bar: beside one perf1.</figcaption>\n</figure>\n\
         <h2>perf1: how long a long request takes</h2>\n<figure>\n{long}\
         <figcaption>Upper bar: alone. Lower bar: beside another perf1.</figcaption>\n</figure>\n\
         <h2>The numbers</h2>\n{table}",
        processors = report.processors,
        n = report.n,
        fib = report.fib_seconds * 1e3,
        window = report.window_seconds,
        table = table(report),
    );
    crate::page::page("The talk, measured", STYLE, &content)
}

/// Two bars for each act.
fn chart(report: &Report, unit: &str, values: impl Fn(&Played) -> [f64; 2]) -> String {
    let most = report.acts.iter().flat_map(&values).fold(f64::MIN_POSITIVE, f64::max);
    let height = ROW * report.acts.len() as f64;
    let mut svg = format!("<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\">\n");
    for (at, act) in report.acts.iter().enumerate() {
        let top = ROW * at as f64;
        svg += &format!("<text x=\"{LEFT}\" y=\"{}\">{}</text>\n", top + 14.0, escape(act.title));
        for (which, value) in values(act).into_iter().enumerate() {
            let y = top + 18.0 + 12.0 * which as f64;
            let length = LONGEST * value / most;
            let class = ["one", "two"][which];
            let label = format!("{} {unit}", count(value));
            svg += &format!(
                "<rect class=\"{class}\" x=\"{LEFT}\" y=\"{y}\" width=\"{length:.1}\" height=\"10\" rx=\"2\"/>\
                 <text x=\"{:.1}\" y=\"{}\">{label}</text>\n",
                LEFT + length + 6.0,
                y + 9.5,
            );
        }
    }
    svg + "</svg>\n"
}

fn table(report: &Report) -> String {
    let mut rows = String::new();
    for act in &report.acts {
        let numbers = &act.numbers;
        rows += &format!(
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{:.3} s</td><td>{:.3} s</td></tr>\n",
            escape(&act.server),
            count(numbers.short_alone),
            count(numbers.short_beside),
            numbers.long_alone,
            numbers.long_beside,
        );
    }
    format!(
        "<div class=\"scroll\"><table>\n<tr><th>server</th><th>perf2 alone</th><th>beside perf1</th>\
         <th>perf1 alone</th><th>beside another</th></tr>\n{rows}</table></div>\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::talk::table::tests::report;

    #[test]
    fn the_page_stands_alone_and_has_every_act() {
        let page = page(&report());
        assert_eq!(page.matches("<rect").count(), 2 * 2 * 3);
        assert!(!page.contains("http") && !page.contains("<script") && !page.contains("src="));
        for act in &report().acts {
            assert!(page.contains(&format!("<td>{}</td>", act.server)));
        }
    }

    #[test]
    fn titles_are_escaped() {
        let page = page(&report());
        assert!(page.contains("A &lt;title&gt; &amp; more"));
        assert!(!page.contains("<title> &"));
    }

    #[test]
    fn the_longest_bar_fits() {
        let page = page(&report());
        assert!(page.contains("width=\"500.0\""));
    }
}
