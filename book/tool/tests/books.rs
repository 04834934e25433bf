//! Small books, right and wrong, put to the tool as its users do. Every way to be wrong must be reported.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

const SUMMARY: &str = "# Summary\n\n- [One](one.md)\n";

const SOURCE: &str = "\
//! What it is: [`Deque`] and `[a]`.
use std::fmt;

struct Deque {
    items: Vec<u8>,
}

impl Deque {
    /// Docs.
    fn push(&mut self, item: u8) {
        // why
        self.items.push(item);
    }

    fn pop(&mut self) -> Option<u8> {
        self.items.pop()
    }
}

impl fmt::Display for Deque {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, \"<{}>\", self.items.len())
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn it_is_tested() {}
}
";

/// A repository with a book in it.
struct Book {
    folder: TempDir,
}

struct Said {
    is_ok: bool,
    out: String,
    err: String,
}

impl Book {
    /// A book of one chapter, beside `src/deque.rs`.
    fn new(chapter: &str) -> Book {
        let folder = tempfile::tempdir().unwrap();
        let book = Book { folder };
        let settings =
            fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../book.toml"));
        book.write("book/book.toml", &settings.unwrap());
        book.write("book/assets/book.css", "");
        book.write("book/src/SUMMARY.md", SUMMARY);
        book.write("book/src/one.md", chapter);
        book.write("src/deque.rs", SOURCE);
        book
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    fn owns_deque(self) -> Book {
        self.write(
            "book/weave.toml",
            "[[group]]\nname = 'g'\nowned = '100%'\nfiles = ['src/deque.rs']\n",
        );
        self
    }

    fn outputs(self, toml: &str) -> Book {
        self.write("book/outputs.toml", toml);
        self
    }

    fn run(&self, arguments: &[&str]) -> Said {
        self.run_with(arguments, |_| {})
    }

    fn run_with(&self, arguments: &[&str], change: impl FnOnce(&mut Command)) -> Said {
        let mut command = Command::new(env!("CARGO_BIN_EXE_popleft-book"));
        command
            .args(arguments)
            .current_dir(self.path("book/src"))
            .env_remove("POPLEFT_REQUIRE_TOOLS");
        change(&mut command);
        let output = command.output().unwrap();
        Said {
            is_ok: output.status.success(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// The page, after a build that must succeed.
    fn page(&self) -> String {
        self.run(&["build"]).succeeds();
        self.read("book/book/one.html")
    }
}

impl Said {
    fn succeeds(&self) -> &Said {
        assert!(self.is_ok, "{}\n{}", self.out, self.err);
        self
    }

    fn fails_with(&self, texts: &[&str]) {
        assert!(!self.is_ok, "it succeeds: {}", self.out);
        for text in texts {
            assert!(self.err.contains(text), "{text} is not in:\n{}", self.err);
        }
    }
}

/// The text that a reader of the page sees, without tags.
fn seen(page: &str) -> String {
    let start = page.find("<main>").map_or(0, |at| at + "<main>".len());
    let end = page.find("</main>").unwrap_or(page.len());
    let mut out = String::new();
    let mut in_tag = false;
    for c in page[start..end].chars() {
        match c {
            '<' => in_tag = true,
            '>' => in_tag = false,
            _ if !in_tag => out.push(c),
            _ => {}
        }
    }
    out.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&#39;", "'")
        .replace("&amp;", "&")
}

// ===== weaving =====

#[test]
fn a_method_is_shown_in_its_impl_without_docs_and_with_its_place() {
    let page = Book::new("# One\n\n{{#weave src/deque.rs fn Deque::push}}\n").page();
    let text = seen(&page);
    let shown = "\
impl Deque {
    fn push(&mut self, item: u8) {
        // why
        self.items.push(item);
    }
}
";
    assert!(text.contains(shown), "{text}");
    assert!(page.contains("<a href=\"../../src/deque.rs\">src/deque.rs:10-13</a>"), "{page}");
}

#[test]
fn a_whole_file_leaves_out_docs_and_tests_unless_they_are_asked_for() {
    let text = seen(&Book::new("# One\n\n{{#weave src/deque.rs}}\n").page());
    assert!(text.contains("struct Deque"), "{text}");
    assert!(!text.contains("it_is_tested") && !text.contains("Docs."), "{text}");
    let text = seen(
        &Book::new("# One\n\n{{#weave src/deque.rs docs=yes tests=yes comments=no}}\n").page(),
    );
    assert!(text.contains("it_is_tested") && text.contains("Docs."), "{text}");
    assert!(!text.contains("why"), "{text}");
}

#[test]
fn what_lies_between_two_pieces_is_marked_as_left_out() {
    let both = "# One\n\n{{#weave src/deque.rs fn push; fn pop}}\n";
    let text = seen(&Book::new(both).page());
    assert_eq!(text.matches("impl Deque {").count(), 1, "{text}");
    assert!(!text.contains('⋯'), "{text}");
    let apart = "# One\n\n{{#weave src/deque.rs uses; fn pop}}\n";
    assert!(seen(&Book::new(apart).page()).contains('⋯'));
}

#[test]
fn docs_become_prose() {
    let text = seen(&Book::new("# One\n\n{{#weave src/deque.rs docs}}\n").page());
    assert!(text.contains("What it is: Deque and [a]."), "{text}");
}

#[test]
fn tags_that_do_not_resolve_fail_the_build_with_their_line() {
    for (tag, what) in [
        ("{{#weave src/none.rs}}", "cannot read src/none.rs"),
        ("{{#weave src/deque.rs fn none}}", "no `fn none`"),
        ("{{#weave src/deque.rs impl None}}", "no `impl None`"),
        ("{{#weave src/deque.rs from \"items\"}}", "ambiguous"),
        ("{{#weave src/deque.rs from \"nowhere\"}}", "no line holds"),
        ("{{#weave src/deque.rs fn pop size=big}}", "option `size=big`"),
        ("{{#weave src/deque.rs fn pop docs=maybe}}", "docs is yes or no"),
        ("{{#weave src/deque.rs fn pop mark=\"push\"}}", "no shown line holds \"push\""),
        ("{{#weave}}", "needs a file"),
        ("text {{#weave src/deque.rs}}", "must stand alone"),
        ("{{#diff src/deque.rs src/deque.rs}}", "do not differ"),
        ("{{#src src/deque.rs fn none}}", "no `fn none`"),
        ("{{#output none}}", "no output `none`"),
        ("{{#value none.x}}", "no output `none`"),
        ("{{#value none}}", "not `run.key`"),
        ("{{#include one.md}}", "mdBook's own"),
        ("{{#unknown}}", "no tag `unknown`"),
        ("{{#weave src/deque.rs", "no `}}`"),
        ("{{#box try}}", "has no `{{#end}}`"),
        ("{{#box what}}", "no box `what`"),
        ("{{#end}}", "closes nothing"),
        ("{{#beside}}\n{{#weave src/deque.rs}}\n{{#end}}", "two block tags, not 1"),
    ] {
        let said = Book::new(&format!("# One\n\n{tag}\n")).run(&["build"]);
        said.fails_with(&["book/src/one.md:", what]);
    }
    let said =
        Book::new("# One\n\n{{#weave src/deque.rs fn fmt}}\n\n{{#unknown}}\n").run(&["build"]);
    said.fails_with(&["book/src/one.md:5: there is no tag", "1 problem"]);
}

#[test]
fn an_ambiguous_item_names_the_candidates() {
    let book = Book::new("# One\n\n{{#weave src/two.rs fn go}}\n");
    book.write("src/two.rs", "impl A {\n    fn go() {}\n}\nimpl B {\n    fn go() {}\n}\n");
    let said = book.run(&["build"]);
    said.fails_with(&["one.md:3", "fn A::go (line 2)", "fn B::go (line 5)"]);
}

#[test]
fn a_file_that_is_not_rust_is_reported_with_its_line() {
    let book = Book::new("# One\n\n{{#weave src/bad.rs}}\n");
    book.write("src/bad.rs", "fn f() {}\nfn {\n");
    book.run(&["build"]).fails_with(&["one.md:3", "src/bad.rs:2: not Rust"]);
}

#[test]
fn a_difference_shows_what_came_and_what_went() {
    let book = Book::new("# One\n\n{{#diff src/a.rs src/b.rs}}\n");
    book.write("src/a.rs", "fn a() {\n    old();\n}\n");
    book.write("src/b.rs", "fn a() {\n    new(\"<b>\");\n}\n");
    let page = book.page();
    assert!(page.contains("line removed\">    old"), "{page}");
    assert!(page.contains("line added\">    new"), "{page}");
    assert!(page.contains("+1 -1"), "{page}");
    assert!(seen(&page).contains("new(\"<b>\")"), "{page}");
}

#[test]
fn pairs_and_boxes_hold_tags_and_markdown() {
    let chapter = "# One\n\n{{#beside}}\n{{#weave src/a.py def f}}\n{{#weave src/deque.rs fn pop}}\n{{#end}}\n\n\
        {{#box try title=\"Do & see\"}}\nSome *text* and {{#src src/deque.rs struct Deque}}.\n\n{{#box answer}}\nYes.\n{{#end}}\n{{#end}}\n";
    let book = Book::new(chapter);
    book.write("src/a.py", "def f():\n    return 1\n");
    let page = book.page();
    assert!(page.contains("<div class=\"beside\">"), "{page}");
    assert!(page.contains("<em>text</em>"), "{page}");
    assert!(page.contains("Do &amp; see"), "{page}");
    assert!(page.contains("title=\"src/deque.rs:4\"><code>Deque</code></a>"), "{page}");
    assert!(page.contains("<details class=\"box box-answer\">"), "{page}");
}

#[test]
fn a_chapter_that_the_summary_does_not_name_is_reported() {
    let book = Book::new("# One\n");
    book.write("book/src/two.md", "# Two\n");
    book.run(&["build"]).fails_with(&["book/src/two.md", "SUMMARY.md does not name it"]);
}

#[test]
fn unbalanced_html_is_reported() {
    let said = Book::new("# One\n\n<div>\n\ntext\n").run(&["build"]);
    said.fails_with(&["unclosed HTML tag"]);
}

// ===== ownership =====

#[test]
fn a_book_that_owns_every_line_once_passes() {
    let chapter = "# One\n\n{{#weave src/deque.rs uses; struct Deque}}\n\n{{#weave src/deque.rs fn push}}\n\n\
        {{#weave src/deque.rs fn pop}}\n\n{{#weave src/deque.rs impl Display for Deque}}\n\n\
        {{#weave src/deque.rs struct Deque again}}\n";
    let book = Book::new(chapter).owns_deque();
    book.run(&["check"]).succeeds();
}

#[test]
fn a_line_that_no_tag_owns_is_reported() {
    let chapter = "# One\n\n{{#weave src/deque.rs uses; struct Deque; impl Deque}}\n\n{{#weave src/deque.rs impl Display for Deque again}}\n";
    let said = Book::new(chapter).owns_deque().run(&["check"]);
    said.fails_with(&[
        "src/deque.rs:20-24: not in the book: impl fmt::Display",
        "check: 1 problem",
    ]);
}

#[test]
fn a_line_that_two_tags_own_is_reported_with_both() {
    let chapter = "# One\n\n{{#weave src/deque.rs}}\n\n{{#weave src/deque.rs fn pop}}\n";
    let said = Book::new(chapter).owns_deque().run(&["check"]);
    said.fails_with(&[
        "src/deque.rs:15-17: owned twice, by book/src/one.md:3 and book/src/one.md:5",
    ]);
}

#[test]
fn a_file_that_must_be_shown_is_shown_whole_or_as_the_new_side() {
    let toml = "[[group]]\nname = 'steps'\nshown = true\nfiles = ['src/step-*.rs']\n";
    let with_steps = |chapter: &str| {
        let book = Book::new(chapter);
        book.write("book/weave.toml", toml);
        book.write("src/step-1.rs", "fn main() {}\n");
        book.write("src/step-2.rs", "fn main() { f() }\n");
        book.run(&["check"])
    };
    let both = "# One\n\n{{#weave src/step-1.rs}}\n\n{{#diff src/step-1.rs src/step-2.rs}}\n";
    with_steps(both).succeeds();
    let said =
        with_steps("# One\n\n{{#weave src/step-1.rs}}\n\n{{#weave src/step-2.rs fn main}}\n");
    said.fails_with(&["src/step-2.rs: the book shows it neither whole"]);
}

#[test]
fn a_group_with_more_lines_than_allowed_is_reported() {
    let with_limit = |limit: usize| {
        let book = Book::new("# One\n\n{{#weave src/two.rs}}\n");
        let files = "files = ['src/one.rs', 'src/two.rs']";
        let toml = format!("[[group]]\nname = 'small'\nat_most = {limit}\n{files}\n");
        book.write("book/weave.toml", &toml);
        // Four lines that say something: closing brackets, comments and tests do not count.
        book.write(
            "src/one.rs",
            "// one\nuse f;\n#[inline]\nfn one() {\n    f(\n        1,\n    );\n}\n",
        );
        book.write("src/two.rs", "fn two() {}\n\n#[cfg(test)]\nmod tests {\n    fn t() {}\n}\n");
        book.run(&["check"])
    };
    with_limit(4).succeeds();
    with_limit(3).fails_with(&["small: 4 lines of code, 3 are allowed"]);
}

#[test]
fn a_group_without_files_and_a_program_without_mention_are_reported() {
    let book = Book::new("# One\n\nRun `one`.\n");
    book.write(
        "book/weave.toml",
        "[[group]]\nname = 'g'\nshown = true\nfiles = ['none/*.rs']\n[named]\nfolders = ['bin']\n",
    );
    book.write("bin/one.rs", "");
    book.write("bin/one-more.rs", "");
    let said = book.run(&["check"]);
    said.fails_with(&["no file matches none/*.rs", "no chapter names `one-more`"]);
    assert!(!said.err.contains("names `one`"), "{}", said.err);
}

// ===== outputs =====

#[test]
fn a_recorded_output_is_shown_and_compared_by_bytes() {
    let chapter = "# One\n\n{{#output greet}} \n\nIt said {{#value greet.count}} things.\n";
    let toml = "[output.greet]\nkind = 'exact'\ncommand = 'cat \"$PWD/said.txt\"; pwd'\nvalues.count = { regex = 'hello (\\w+)' }\n";
    let book = Book::new(chapter).outputs(toml);
    book.write("said.txt", "hello <three>\nhello 3\n");
    let unrecorded = book.run(&["build"]);
    unrecorded.fails_with(&["one.md:3", "not recorded", "record greet"]);

    let recorded = book.run(&["record", "greet"]);
    // The first match is no word, so the second is taken.
    assert!(recorded.succeeds().out.contains("greet: new, 3 lines"), "{}", recorded.out);
    assert_eq!(book.read("book/outputs/greet.txt"), "hello <three>\nhello 3\n.\n");
    let text = seen(&book.page());
    assert!(text.contains("hello <three>") && text.contains("It said 3 things."), "{text}");
    book.run(&["check"]).succeeds();

    book.write("said.txt", "hello <three>\nhello 4\n");
    book.run(&["check"]).fails_with(&[
        "output.greet: it prints something else",
        "-hello 3",
        "+hello 4",
    ]);
    let again = book.run(&["record"]);
    assert!(again.succeeds().out.contains("greet: changed"), "{}", again.out);
    assert!(book.run(&["record"]).succeeds().out.contains("greet: unchanged"));
}

#[test]
fn a_measured_output_is_held_to_its_laws_and_not_to_its_digits() {
    let toml = "[output.speed]\nkind = 'measured'\ncommand = 'cat rate.txt'\nlines = ['^rate']\n\
        values.rate = { regex = 'rate (\\d+)' }\nlaws = ['rate > 100', 'rate < limit.most']\n\
        [output.limit]\nkind = 'exact'\ncommand = 'echo most 9000'\nvalues.most = { regex = '(\\d+)' }\n";
    let book = Book::new("# One\n\n{{#output speed}}\n").outputs(toml);
    book.write("rate.txt", "rate 500\n");
    book.run(&["record"]).succeeds();
    book.write("rate.txt", "rate 800\n");
    book.run(&["check"]).succeeds();
    assert_eq!(book.read("book/outputs/speed.txt"), "rate 500\n");

    book.write("rate.txt", "rate 50\n");
    book.run(&["check"]).fails_with(&["law broken: rate > 100 (rate = 50)"]);
    book.write("rate.txt", "rate 9500\n");
    book.run(&["check"])
        .fails_with(&["law broken: rate < limit.most (rate = 9500, limit.most = 9000)"]);
    // What breaks its law is not written down.
    book.run(&["record", "speed"]).fails_with(&["law broken"]);
    assert_eq!(book.read("book/outputs/speed.txt"), "rate 500\n");

    book.write("rate.txt", "speed 500\n");
    book.run(&["check"]).fails_with(&["no line", "`^rate`"]);
    book.write("rate.txt", "rate 500\n");
    book.write("book/outputs/speed.txt", "rate 7\n");
    book.run(&["check"]).fails_with(&["as recorded: law broken: rate > 100"]);
}

#[test]
fn a_long_run_is_made_only_when_it_is_named() {
    let toml = "[output.table]\nkind = 'measured'\nlong = true\ncommand = 'echo ran >> runs.txt; cat rate.txt'\n\
        values.rate = { regex = 'rate (\\d+)' }\nlaws = ['rate > 100']\n";
    let book = Book::new("# One\n\n{{#output table}}\n").outputs(toml);
    book.write("rate.txt", "rate 500\n");
    book.run(&["check"]).fails_with(&["table"]);
    book.run(&["record"]).succeeds();
    assert!(!book.path("runs.txt").exists());
    book.run(&["record", "table"]).succeeds();
    book.run(&["check"]).succeeds();
    assert_eq!(book.read("runs.txt"), "ran\n");
    book.write("book/outputs/table.txt", "rate 7\n");
    book.run(&["check"]).fails_with(&["law broken: rate > 100 (rate = 7)"]);
}

#[test]
fn files_that_a_run_writes_are_recorded_too() {
    let toml = "[output.table]\nkind = 'exact'\ncommand = \"echo '{\\\"a\\\": [1, 2.5]}' > {dir}/t.json\"\n\
        files = ['t.json']\nvalues.a = { file = 't.json', json = '/a/1', digits = 2 }\n";
    let book =
        Book::new("# One\n\n{{#value table.a}}\n\n{{#output table file=t.json}}\n").outputs(toml);
    book.run(&["record"]).succeeds();
    assert_eq!(book.read("book/outputs/table.t.json"), "{\"a\": [1, 2.5]}\n");
    assert!(seen(&book.page()).contains("2.50"));
    book.run(&["check"]).succeeds();
}

#[test]
fn a_server_is_started_first_and_ended_after() {
    let toml = "[output.served]\nkind = 'exact'\nserver = 'echo $$ > pid; echo listening on 127.0.0.1:4711; exec sleep 1000'\n\
        command = 'echo asked {addr}'\n";
    let book = Book::new("# One\n\n{{#output served}}\n").outputs(toml);
    book.run(&["record"]).succeeds();
    assert_eq!(book.read("book/outputs/served.txt"), "asked 127.0.0.1:25000\n");
    let pid = book.read("pid");
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    assert!(stat.is_empty() || stat.contains(") Z "), "{stat}");
}

#[test]
fn runs_that_fail_or_take_too_long_are_reported_with_their_last_words() {
    let wrong = |command: &str, more: &str| {
        let toml = format!("[output.x]\nkind = 'exact'\ncommand = '{command}'\n{more}");
        Book::new("# One\n\n{{#command x}}\n").outputs(&toml).run(&["record"])
    };
    wrong("echo why >&2; exit 3", "").fails_with(&["output.x", "exit status: 3", "why"]);
    wrong("echo why >&2; sleep 1000", "timeout = 1\n").fails_with(&[
        "output.x",
        "killed after 1 s",
        "why",
    ]);
    wrong("true", "files = ['f.json']\n").fails_with(&["output.x", "it wrote no f.json"]);
    wrong("true", "server = 'echo no port >&2'\n").fails_with(&[
        "output.x",
        "did not say",
        "no port",
    ]);
    wrong("true", "values.v = { regex = '(x)' }\n").fails_with(&["values.v", "nothing matches"]);
    wrong("exit 3", "status = 3\n").succeeds();
}

#[test]
fn a_missing_tool_skips_the_run_unless_tools_are_required() {
    let toml = "[output.x]\nkind = 'exact'\ncommand = 'echo x'\nneeds = ['no-such-tool']\n";
    let book = Book::new("# One\n").outputs(toml);
    let said = book.run(&["record"]);
    assert!(said.succeeds().out.contains("x: skipped: no no-such-tool"), "{}", said.out);
    let required = book.run_with(&["record"], |command| {
        command.env("POPLEFT_REQUIRE_TOOLS", "1");
    });
    required.fails_with(&["no-such-tool is not installed"]);
}

#[test]
fn outputs_that_nobody_shows_and_files_that_nobody_writes_are_reported() {
    let book = Book::new("# One\n").outputs("[output.x]\nkind = 'exact'\ncommand = 'echo x'\n");
    book.run(&["record"]).succeeds();
    book.write("book/outputs/old.txt", "");
    book.run(&["check"])
        .fails_with(&["output.x: no chapter shows it", "book/outputs/old.txt: no run"]);
    book.run(&["record", "none"]).fails_with(&["no output `none`; it has: x"]);
}

// ===== links and examples =====

#[test]
fn links_lead_somewhere() {
    let chapter = "# One\n\n## A part\n\n[a](two.md#b-part) [b](#a-part) [c](../../src/deque.rs) [d](../../README.md)\n";
    let book = Book::new(chapter);
    book.write("book/src/SUMMARY.md", "# Summary\n\n- [One](one.md)\n- [Two](two.md)\n");
    book.write("book/src/two.md", "# Two\n\n## B part\n");
    book.write("README.md", "");
    let page = book.page();
    assert!(page.contains("href=\"../../README.md\""), "{page}");
    for (link, what) in [
        ("[a](three.md)", "three.html leads nowhere"),
        ("[a](two.md#c-part)", "no #c-part"),
        ("[a](#c-part)", "no #c-part"),
        ("[a](../../src/none.rs)", "none.rs leads nowhere"),
        ("[a](../../../x.rs)", "out of the repository"),
        ("![a](a.png)", "a.png leads nowhere"),
        ("![a](https://example.org/a.png)", "from the network"),
    ] {
        book.write("book/src/one.md", &format!("# One\n\n{link}\n"));
        book.run(&["build"]).fails_with(&["book/src/one.md:3", what]);
    }
}

#[test]
fn rust_blocks_of_chapters_are_compiled_and_run() {
    let block = |info: &str, code: &str| {
        let chapter = format!("# One\n\n```{info}\n{code}\n```\n\n{{{{#weave src/deque.rs}}}}\n");
        Book::new(&chapter).run(&["test"])
    };
    let said = block("rust", "# let hidden = 2;\nassert_eq!(1 + 1, hidden);");
    assert!(said.succeeds().out.contains("1 Rust blocks"), "{}", said.out);
    block("rust", "assert_eq!(1 + 1, 3);").fails_with(&["book/src/one.md", "panicked"]);
    block("rust", "let x: u8 = \"\";").fails_with(&["book/src/one.md", "mismatched types"]);
    block("rust,ignore", "?").fails_with(&["book/src/one.md:3", "nobody compiles"]);
    block("", "?").fails_with(&["book/src/one.md:3", "names no language"]);
}

#[test]
fn python_files_of_the_book_compile() {
    if Command::new("python3").arg("--version").output().is_err() {
        println!("skipped: no python3");
        return;
    }
    let book = Book::new("# One\n");
    book.write("book/src/python/a.py", "def f():\n    return 1\n");
    let said = book.run(&["test"]);
    assert!(said.succeeds().out.contains("1 Python files compile"), "{}", said.out);
    book.write("book/src/python/b.py", "def f(:\n");
    book.run(&["test"]).fails_with(&["a Python file does not compile", "b.py"]);
}

#[test]
fn outside_of_a_book_the_tool_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_popleft-book"))
        .arg("build")
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("no book/book.toml"));
}
