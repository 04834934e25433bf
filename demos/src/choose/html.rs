//! The runs as one page to pass on.

use super::amount;
use super::report::{Report, Run};
use super::terminal::{items, processors};
use super::verdict::capitalised;
use crate::page::escape;

/// The drawing, in its own units: where the time axis begins and ends, and the height of a style.
const WIDTH: f64 = 720.0;
const LEFT: f64 = 8.0;
const RIGHT: f64 = 712.0;
const TALL: f64 = 96.0;
/// How high the waiting and the computing are drawn at the most.
const HIGH: f64 = 28.0;

const STYLE: &str = "\
svg { min-width: 32rem; } .strong { font-weight: 600; } line { stroke: var(--line); }
.wait { fill: var(--blue); } .compute { fill: var(--orange); } .key { display: inline-block; width: .8em; height: .8em; border-radius: 2px; }
.key.wait { background: var(--blue); } .key.compute { background: var(--orange); }
pre { overflow-x: auto; padding: .6rem; border: 1px solid var(--line); border-radius: 4px; }
";

pub(super) fn page(report: &Report) -> String {
    let work = &report.work;
    let sentences: String =
        report.sentences().iter().map(|said| format!("<p>{}</p>\n", escape(said))).collect();
    let processors = processors(work.processors);
    let content = format!(
        "<p>{heading}.</p>\n{sentences}\
         <h2>When the items waited and computed</h2>\n\
         <figure>\n<div class=\"scroll\">{drawing}</div><figcaption><span class=\"key wait\"></span> waiting, up to {most}; \
         <span class=\"key compute\"></span> computing, up to {processors}. \
         All on the same time axis.</figcaption>\n</figure>\n\
         <h2>The numbers</h2>\n{table}\
         <h2>Measure it yourself</h2>\n\
         <p>With popleft {version}, in its repository:</p>\n\
         <pre><code>{command}</code></pre>\n",
        heading = escape(&capitalised(&super::heading(report))),
        drawing = drawing(report),
        most = items(report.most_waiting()),
        table = table(report),
        version = report.version,
        command = escape(&report.command),
    );
    crate::page::page("Which should I choose?", STYLE, &content)
}

fn drawing(report: &Report) -> String {
    let height = TALL * report.runs.len() as f64 + 24.0;
    let mut svg = format!(
        "<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-labelledby=\"what how\">\n\
         <title id=\"what\">How many items waited and how many computed, for each style, over \
         time</title>\n<desc id=\"how\">The table below has the numbers.</desc>\n"
    );
    let most = report.most_waiting().max(1) as f64;
    for (at, run) in report.runs.iter().enumerate() {
        let top = TALL * at as f64;
        let end = LEFT + (RIGHT - LEFT) * run.seconds / report.longest();
        svg += &format!(
            "<text class=\"strong\" x=\"{LEFT}\" y=\"{:.0}\">{}</text>\
             <text x=\"{RIGHT}\" y=\"{0:.0}\" text-anchor=\"end\">{}, {}</text>\n",
            top + 16.0,
            run.title,
            amount::time(run.seconds),
            ratio(run),
        );
        let rows = [
            ("wait", &run.waiting, most),
            ("compute", &run.computing, report.work.processors as f64),
        ];
        for (row, (class, numbers, most)) in rows.into_iter().enumerate() {
            let ground = top + 24.0 + (HIGH + 4.0) * (row as f64 + 1.0);
            svg += &format!(
                "<line x1=\"{LEFT}\" y1=\"{ground}\" x2=\"{end:.1}\" y2=\"{ground}\"/>\
                 <path class=\"{class}\" d=\"{}\"/>\n",
                area(numbers, most, ground),
            );
        }
    }
    for quarter in 0..=4 {
        let share = f64::from(quarter) / 4.0;
        let anchor = ["start", "middle", "middle", "middle", "end"][quarter as usize];
        svg += &format!(
            "<text x=\"{:.1}\" y=\"{:.0}\" text-anchor=\"{anchor}\">{}</text>\n",
            LEFT + (RIGHT - LEFT) * share,
            height - 6.0,
            amount::time(report.longest() * share),
        );
    }
    svg + "</svg>\n"
}

/// The outline of the columns, each as high as its number; what is not nothing can be seen.
fn area(numbers: &[f64], most: f64, ground: f64) -> String {
    let column = (RIGHT - LEFT) / numbers.len() as f64;
    let mut path = format!("M{LEFT} {ground}");
    for (at, number) in numbers.iter().enumerate() {
        let high = match *number {
            0.0 => 0.0,
            number => (HIGH * number / most).clamp(1.0, HIGH),
        };
        let x = LEFT + column * at as f64;
        path += &format!("L{x:.1} {:.1}H{:.1}", ground - high, x + column);
    }
    path + &format!("V{ground}Z")
}

fn table(report: &Report) -> String {
    let mut rows = String::new();
    for run in &report.runs {
        rows += &format!(
            "<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td><td>{}</td><td>{:.1}</td></tr>\n",
            run.title,
            amount::time(run.seconds),
            ratio(run),
            amount::count(run.most_waiting),
            run.computing_at_once,
        );
    }
    format!(
        "<div class=\"scroll\"><table>\n<tr><th scope=\"col\">style</th>\
         <th scope=\"col\">in all</th><th scope=\"col\">against the shortest</th>\
         <th scope=\"col\">waited at once</th><th scope=\"col\">computed at once</th></tr>\n\
         {rows}</table></div>\n"
    )
}

fn ratio(run: &Run) -> String {
    match run.ratio {
        ..1.005 => String::from("the shortest"),
        ratio => format!("{} times as long", amount::times(ratio)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::choose::report::tests::report;

    #[test]
    fn the_page_stands_alone_and_has_every_style_drawn_and_in_the_table() {
        let page = page(&report());
        assert_eq!(page.matches("<path").count(), 2 * 2);
        assert!(!page.contains("http") && !page.contains("<script") && !page.contains("src="));
        for run in &report().runs {
            assert!(page.contains(&format!("<th scope=\"row\">{}</th>", run.title)));
        }
    }

    #[test]
    fn every_element_that_opens_closes() {
        let page = page(&report());
        for element in [
            "html",
            "head",
            "body",
            "main",
            "style",
            "title",
            "svg",
            "desc",
            "text",
            "figure",
            "figcaption",
            "span",
            "div",
            "table",
            "tr",
            "th",
            "td",
            "p",
            "pre",
            "code",
            "h1",
            "h2",
        ] {
            let opened = page.matches(&format!("<{element}>")).count()
                + page.matches(&format!("<{element} ")).count();
            assert!(opened > 0, "{element}");
            assert_eq!(opened, page.matches(&format!("</{element}>")).count(), "{element}");
        }
    }

    #[test]
    fn what_comes_from_outside_is_escaped() {
        assert!(page(&report()).contains("choose &lt;now&gt; &amp; &quot;here&quot;"));
    }

    #[test]
    fn areas_stay_within_their_height_and_begin_and_end_on_the_ground() {
        let path = area(&[0.0, 0.001, 4.0, 9.0], 4.0, 100.0);
        assert_eq!(
            path,
            "M8 100L8.0 100.0H184.0L184.0 99.0H360.0L360.0 72.0H536.0L536.0 72.0H712.0V100Z"
        );
    }
}
