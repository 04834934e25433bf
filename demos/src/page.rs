//! The frame of the pages that `talk` and `choose` write: nothing to load, light and dark, narrow and
//! wide.

const STYLE: &str = "\
:root { color-scheme: light dark; --ink: #1d2733; --paper: #fff; --soft: #566; --blue: #3367a8; --orange: #c26a14; --line: #dde; }
@media (prefers-color-scheme: dark) { :root { --ink: #dfe5ec; --paper: #14181d; --soft: #9ab; --blue: #6da3e8; --orange: #f0a35a; --line: #334; } }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 50rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin-top: 2rem; } figcaption { color: var(--soft); }
figure { margin: 1rem 0; } svg { width: 100%; height: auto; } svg text { font: 13px system-ui, sans-serif; fill: var(--ink); }
.scroll { overflow-x: auto; } table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem 1rem .3rem 0; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; } th:first-child, td:first-child { text-align: left; }
";

/// A whole page. `style` adds rules to those that all pages have.
pub(crate) fn page(title: &str, style: &str, content: &str) -> String {
    let title = escape(title);
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<style>\n{STYLE}{style}</style>\n</head>\n<body>\n\
         <main>\n<h1>{title}</h1>\n{content}</main>\n</body>\n</html>\n"
    )
}

/// A text as HTML shows it, also within an attribute.
pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
