//! What clients and servers send each other. No I/O here: bytes go in, requests come out.
//!
//! A client sends a number, the server answers with a line. Where does a number end? A person and
//! most programs send lines. The clients of the talk send `30` without a newline and rely on one
//! read bringing one request. A [`Conversation`] takes both: when the first read holds no newline,
//! every read is one request from then on. Some programs send a line in two pieces, the number and
//! then its end (`nc -C` does); so line ends that come alone after a request belong to it.
//!
//! ```
//! use popleft_demos::protocol::{Conversation, Rules, answer};
//!
//! let mut conversation = Conversation::new(Rules::default());
//! let mut answers = String::new();
//! for request in conversation.received(b"10\r\n-1\n") {
//!     answers += &answer(request.map(popleft_demos::fib::fib));
//! }
//! assert_eq!(answers, "55\nerror: -1 is negative\n");
//! ```
//!
//! A conversation keeps at most one short line, whatever the client sends. Requests are decoded
//! one at a time, so what has been read but not yet asked for stays in the reader's buffer, and
//! what has not been read stays in the kernel, where it holds the client back.

use std::fmt;

/// How many bytes a server reads at once.
pub const READ_SIZE: usize = 4096;

/// The longest request, without its line's end.
pub const LONGEST_REQUEST: usize = 64;

/// A line of so many bytes without an end closes the connection.
pub const LONGEST_LINE: usize = 64 * 1024;

/// How many characters of a wrong request its error quotes.
const LONGEST_QUOTE: usize = 40;

/// Where a request ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Framing {
    /// The first read decides: with a newline in it lines, without one the talk's framing
    #[default]
    Auto,
    /// At LF or CRLF
    Line,
    /// With the read that brought it, as the clients of the talk expect
    Talk,
}

/// What a server accepts.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    pub framing: Framing,
    /// The largest `n` that the server computes.
    pub max_n: u64,
}

impl Default for Rules {
    fn default() -> Self {
        Rules { framing: Framing::Auto, max_n: 45 }
    }
}

/// One request: the `n` whose Fibonacci number is asked for, or why it cannot be computed.
pub type Request = Result<u64, Refusal>;

/// Why a request gets an error for an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    Empty,
    NotUtf8,
    NotANumber(String),
    Fraction(String),
    Negative(String),
    Zero,
    TooLarge {
        max_n: u64,
    },
    TooLong,
    /// The line never ended. The connection is closed after this answer.
    Endless,
}

/// The answer to one request: a line with the result, or with the reason why there is none.
pub fn answer<E: fmt::Display>(result: Result<u64, E>) -> String {
    match result {
        Ok(number) => format!("{number}\n"),
        // With what led to it, where there is more to say.
        Err(reason) => format!("error: {reason:#}\n"),
    }
}

// ===== the conversation =========================================================================

/// The state of one connection: what was received so far, as far as it still matters.
#[derive(Debug)]
pub struct Conversation {
    rules: Rules,
    /// `Auto` until the first read.
    framing: Framing,
    /// The beginning of a line whose end has not come; never more than a request with its CR.
    line: Vec<u8>,
    /// The whole length of that line so far.
    line_length: usize,
    /// The last read was a request of the talk's framing, without the end that a line has.
    end_may_follow: bool,
    open: bool,
}

impl Conversation {
    /// A connection has been made and nothing has been read.
    pub fn new(rules: Rules) -> Self {
        Conversation {
            rules,
            framing: rules.framing,
            line: Vec::new(),
            line_length: 0,
            end_may_follow: false,
            open: true,
        }
    }

    /// Whether anything more is to be read: until the end of file, or until a line is endless.
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// Takes what one read brought, nothing at the end of file, and returns the requests in it.
    ///
    /// Requests left in the iterator when it is dropped are lost.
    pub fn received<'a>(&'a mut self, bytes: &'a [u8]) -> Requests<'a> {
        if bytes.is_empty() {
            self.open = false;
        } else if self.framing == Framing::Auto {
            self.framing = if bytes.contains(&b'\n') { Framing::Line } else { Framing::Talk };
        }
        Requests { conversation: self, bytes }
    }

    /// Takes the next line out of `bytes`; what is left over begins the line that comes next.
    fn next_line(&mut self, bytes: &mut &[u8]) -> Option<Request> {
        let rest = *bytes;
        let until_endless = LONGEST_LINE - self.line_length;
        let searched = &rest[..rest.len().min(until_endless)];
        let Some(end) = searched.iter().position(|&byte| byte == b'\n') else {
            *bytes = &[];
            self.keep(searched);
            return self.refuse_if_endless();
        };
        *bytes = &rest[end + 1..];
        self.keep(&rest[..end]);
        let request = parse_line(&self.line, self.line_length, self.rules.max_n);
        self.line.clear();
        self.line_length = 0;
        Some(request)
    }

    /// Takes a read as a request of the talk's framing. Where that framing is only a guess, the read
    /// may also be a piece of a line.
    fn whole_read(&mut self, read: &[u8]) -> Option<Request> {
        if self.rules.framing == Framing::Auto {
            let only_ends = read.iter().all(|byte| b"\r\n".contains(byte));
            let ends_the_last = only_ends && self.end_may_follow;
            // Between CR and LF too it may have been cut.
            self.end_may_follow = (ends_the_last || !only_ends) && !read.ends_with(b"\n");
            if ends_the_last {
                return None;
            }
            self.count_as_a_line(read);
            if let Some(refusal) = self.refuse_if_endless() {
                return Some(refusal);
            }
        }
        Some(parse(read, self.rules.max_n))
    }

    /// What is too long for a request may be the first line, cut into reads.
    fn count_as_a_line(&mut self, read: &[u8]) {
        if read.len() <= LONGEST_REQUEST {
            self.line_length = 0;
            return;
        }
        match read.iter().rposition(|&byte| byte == b'\n') {
            Some(end) => self.line_length = read.len() - end - 1,
            None => self.line_length += read.len(),
        }
    }

    /// Remembers as much of the line as a request can have, and counts the rest.
    fn keep(&mut self, part: &[u8]) {
        let room = LONGEST_REQUEST + 1 - self.line.len();
        self.line.extend_from_slice(&part[..part.len().min(room)]);
        self.line_length += part.len();
    }

    fn refuse_if_endless(&mut self) -> Option<Request> {
        if self.line_length < LONGEST_LINE {
            return None;
        }
        self.open = false;
        Some(Err(Refusal::Endless))
    }
}

/// The requests in what was read. See [`Conversation::received`].
#[derive(Debug)]
pub struct Requests<'a> {
    conversation: &'a mut Conversation,
    bytes: &'a [u8],
}

impl Iterator for Requests<'_> {
    type Item = Request;

    fn next(&mut self) -> Option<Request> {
        if self.bytes.is_empty() || !self.conversation.open {
            return None;
        }
        if self.conversation.framing == Framing::Talk {
            let read = std::mem::take(&mut self.bytes);
            return self.conversation.whole_read(read);
        }
        self.conversation.next_line(&mut self.bytes)
    }
}

// ===== one request ==============================================================================

/// `line` is the beginning of a line, which is `length` bytes long without its LF.
fn parse_line(line: &[u8], length: usize, max_n: u64) -> Request {
    if line.len() < length {
        return Err(Refusal::TooLong);
    }
    parse(line.strip_suffix(b"\r").unwrap_or(line), max_n)
}

fn parse(request: &[u8], max_n: u64) -> Request {
    if request.len() > LONGEST_REQUEST {
        return Err(Refusal::TooLong);
    }
    let text = std::str::from_utf8(request).map_err(|_| Refusal::NotUtf8)?;
    let text = text.trim_ascii();
    let (sign, digits) = match text.strip_prefix(['+', '-']) {
        Some(digits) => text.split_at(text.len() - digits.len()),
        None => ("", text),
    };
    if text.is_empty() {
        return Err(Refusal::Empty);
    }
    if is_fraction(digits) {
        return Err(Refusal::Fraction(text.to_string()));
    }
    if !is_digits(digits) {
        return Err(Refusal::NotANumber(text.to_string()));
    }
    let significant = digits.trim_start_matches('0');
    if significant.is_empty() {
        return Err(Refusal::Zero);
    }
    if sign == "-" {
        return Err(Refusal::Negative(text.to_string()));
    }
    match significant.parse() {
        Ok(n) if n <= max_n => Ok(n),
        // What does not fit in 64 bits is above any limit.
        _ => Err(Refusal::TooLarge { max_n }),
    }
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether this is a number with a decimal point, as `1.5`, `.5` and `2.` are.
fn is_fraction(text: &str) -> bool {
    let Some((whole, part)) = text.split_once('.') else {
        return false;
    };
    match (whole, part) {
        ("", "") => false,
        ("", part) => is_digits(part),
        (whole, "") => is_digits(whole),
        (whole, part) => is_digits(whole) && is_digits(part),
    }
}

/// A client's text in an error: its beginning is enough to know it by.
struct Cut<'a>(&'a str);

impl Cut<'_> {
    /// The part to be shown, and the mark that there was more.
    fn parts(&self) -> (&str, &str) {
        match self.0.char_indices().nth(LONGEST_QUOTE) {
            Some((end, _)) => (&self.0[..end], ".."),
            None => (self.0, ""),
        }
    }
}

impl fmt::Display for Cut<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (shown, more) = self.parts();
        write!(f, "{shown}{more}")
    }
}

impl fmt::Debug for Cut<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (shown, more) = self.parts();
        write!(f, "{shown:?}{more}")
    }
}

// The client's text is shown with `{:?}` where it may hold anything: quoted, and always one line.
impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Empty => f.write_str("an empty request; send a number such as 30"),
            Refusal::NotUtf8 => f.write_str("the request is not UTF-8"),
            Refusal::NotANumber(text) => write!(f, "{:?} is not a number", Cut(text)),
            Refusal::Fraction(text) => {
                write!(f, "{} is a fraction; send a whole number", Cut(text))
            }
            Refusal::Negative(text) => write!(f, "{} is negative", Cut(text)),
            Refusal::Zero => {
                f.write_str("the first Fibonacci number is fib(1), there is no fib(0)")
            }
            Refusal::TooLarge { max_n } => write!(f, "n is above {max_n}, the limit of --max-n"),
            Refusal::TooLong => write!(f, "the request is longer than {LONGEST_REQUEST} bytes"),
            Refusal::Endless => {
                write!(f, "no end of line in {LONGEST_LINE} bytes; closing the connection")
            }
        }
    }
}

impl std::error::Error for Refusal {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rules(framing: Framing) -> Rules {
        Rules { framing, ..Rules::default() }
    }

    /// All requests of a connection that brought these reads, and whether it stayed open.
    fn hear<'a>(
        framing: Framing,
        reads: impl IntoIterator<Item = &'a [u8]>,
    ) -> (Vec<Request>, bool) {
        let mut conversation = Conversation::new(rules(framing));
        let mut requests = vec![];
        for read in reads {
            requests.extend(conversation.received(read));
            assert!(conversation.line.len() <= LONGEST_REQUEST + 1);
        }
        (requests, conversation.is_open())
    }

    fn lines(bytes: &[u8]) -> Vec<Request> {
        hear(Framing::Line, bytes.chunks(READ_SIZE)).0
    }

    fn one(text: &str) -> Request {
        let requests = lines(format!("{text}\n").as_bytes());
        assert_eq!(requests.len(), 1);
        requests.into_iter().next().unwrap()
    }

    #[test]
    fn lines_end_with_lf_or_crlf() {
        assert_eq!(lines(b"1\n2\r\n3\n"), [Ok(1), Ok(2), Ok(3)]);
    }

    #[test]
    fn spaces_leading_zeros_and_a_plus_are_fine() {
        for text in ["5", " 5", "5 ", "\t5\t", "  5\r", "005", "+5", " +05 "] {
            assert_eq!(one(text), Ok(5), "{text:?}");
        }
        assert_eq!(one(&format!("{}5", "0".repeat(63))), Ok(5));
    }

    #[test]
    fn empty_lines_are_refused() {
        for text in ["", "\r", " ", "\t \r"] {
            assert_eq!(one(text), Err(Refusal::Empty), "{text:?}");
        }
    }

    #[test]
    fn what_is_not_a_number_is_refused() {
        for text in
            ["abc", "1 2", "+", "-", "--5", "+ 5", "5x", "0x5", "1e3", "1_0", ".", "1.2.3", "٣"]
        {
            assert_eq!(one(text), Err(Refusal::NotANumber(text.into())), "{text:?}");
        }
    }

    #[test]
    fn negative_numbers_fractions_and_zero_have_their_own_errors() {
        for text in ["-5", "-05", "-99999999999999999999999"] {
            assert_eq!(one(text), Err(Refusal::Negative(text.into())), "{text:?}");
        }
        for text in ["1.5", ".5", "2.", "-1.5", "+0.0"] {
            assert_eq!(one(text), Err(Refusal::Fraction(text.into())), "{text:?}");
        }
        for text in ["0", "000", "-0", "+0"] {
            assert_eq!(one(text), Err(Refusal::Zero), "{text:?}");
        }
    }

    #[test]
    fn the_limit_itself_is_computed_and_what_is_above_is_refused() {
        let too_large = Err(Refusal::TooLarge { max_n: 45 });
        assert_eq!(one("45"), Ok(45));
        assert_eq!(one("46"), too_large);
        assert_eq!(one("18446744073709551615"), too_large);
        assert_eq!(one("18446744073709551616"), too_large);
        assert_eq!(one(&"9".repeat(64)), too_large);
    }

    #[test]
    fn bytes_that_are_not_utf8_are_refused() {
        assert_eq!(lines(b"\xff\xfe\n7\n"), [Err(Refusal::NotUtf8), Ok(7)]);
    }

    #[test]
    fn a_request_of_64_bytes_is_the_longest() {
        let fits = format!("{}7", " ".repeat(63));
        assert_eq!(one(&fits), Ok(7));
        assert_eq!(one(&format!("{fits}\r")), Ok(7));
        assert_eq!(one(&format!(" {fits}")), Err(Refusal::TooLong));
        assert_eq!(one(&format!(" {fits}\r")), Err(Refusal::TooLong));
    }

    #[test]
    fn the_rest_of_a_long_line_is_swallowed() {
        let text = format!("{}\n7\n", "1".repeat(LONGEST_LINE - 1));
        assert_eq!(lines(text.as_bytes()), [Err(Refusal::TooLong), Ok(7)]);
    }

    #[test]
    fn an_endless_line_is_answered_and_closes() {
        let text = format!("5\n{}\n7\n", "1".repeat(LONGEST_LINE));
        for size in [1, 1000, READ_SIZE, text.len()] {
            let (requests, open) = hear(Framing::Line, text.as_bytes().chunks(size));
            assert_eq!(requests, [Ok(5), Err(Refusal::Endless)]);
            assert!(!open);
        }
    }

    #[test]
    fn a_line_cut_by_the_end_of_file_gets_no_answer() {
        let reads: [&[u8]; 2] = [b"5\n6", b""];
        assert_eq!(hear(Framing::Line, reads), (vec![Ok(5)], false));
    }

    #[test]
    fn in_the_framing_of_the_talk_every_read_is_a_request() {
        let reads: [&[u8]; 4] = [b"30", b"1", b" 2\r\n", b"3\n4\n"];
        let refused = Err(Refusal::NotANumber("3\n4".into()));
        assert_eq!(hear(Framing::Talk, reads).0, [Ok(30), Ok(1), Ok(2), refused]);
        assert_eq!(hear(Framing::Talk, [&[b'1'; 65][..]]).0, [Err(Refusal::TooLong)]);
    }

    #[test]
    fn the_first_read_decides_for_the_whole_life_of_the_connection() {
        let talk: [&[u8]; 3] = [b"30", b"1\n", b"2"];
        assert_eq!(hear(Framing::Auto, talk).0, [Ok(30), Ok(1), Ok(2)]);
        let line: [&[u8]; 4] = [b"30\n1", b"2", b"\n", b"3"];
        assert_eq!(hear(Framing::Auto, line).0, [Ok(30), Ok(12)]);
    }

    #[test]
    fn the_end_of_a_line_may_come_after_its_number() {
        let cases: [(&[&[u8]], &[Request]); 8] = [
            (&[b"30", b"\r\n", b"1", b"\n", b"2", b"\r", b"\n"], &[Ok(30), Ok(1), Ok(2)]),
            (&[b"30\r", b"\n", b"7"], &[Ok(30), Ok(7)]),
            (&[b"30", b"\r\n7", b"\r\n"], &[Ok(30), Ok(7)]),
            // One end is enough for a number, and the next is a request without one.
            (&[b"30", b"\n", b"\n"], &[Ok(30), Err(Refusal::Empty)]),
            (&[b"30", b"1\n", b"\n"], &[Ok(30), Ok(1), Err(Refusal::Empty)]),
            (&[b"\r", b"\n"], &[Err(Refusal::Empty), Err(Refusal::Empty)]),
            // What is wrong ends like what is right.
            (&[b"x", b"\n"], &[Err(Refusal::NotANumber(String::new()))]),
            (&[b"30", b" "], &[Ok(30), Err(Refusal::Empty)]),
        ];
        for (reads, expected) in cases {
            let kinds = |request: &Request| request.clone().map_err(|e| std::mem::discriminant(&e));
            let (heard, open) = hear(Framing::Auto, reads.iter().copied());
            let heard: Vec<_> = heard.iter().map(kinds).collect();
            assert_eq!(heard, expected.iter().map(kinds).collect::<Vec<_>>(), "{reads:?}");
            assert!(open);
        }
        // Who demands the talk's framing is taken at their word.
        let reads: [&[u8]; 2] = [b"30", b"\r\n"];
        assert_eq!(hear(Framing::Talk, reads).0, [Ok(30), Err(Refusal::Empty)]);
    }

    #[test]
    fn an_endless_first_line_closes_also_when_it_was_taken_for_the_talks_framing() {
        for size in [LONGEST_REQUEST + 1, 1000, READ_SIZE] {
            let text = vec![b'1'; LONGEST_LINE + READ_SIZE];
            let (requests, open) = hear(Framing::Auto, text.chunks(size));
            let (last, before) = requests.split_last().unwrap();
            assert_eq!(last, &Err(Refusal::Endless), "{size}");
            assert!(before.iter().all(|request| *request == Err(Refusal::TooLong)));
            assert!(!open);
        }
        // A line that ends, or a request in between, and all is well again.
        let long = vec![b'1'; READ_SIZE];
        for between in [&b"30"[..], &[&long[..], b"\n"].concat()] {
            let reads = [&long[..]; 15].into_iter().chain([between]).chain([&long[..]; 15]);
            assert!(hear(Framing::Auto, reads).1);
        }
    }

    #[test]
    fn a_long_text_is_quoted_by_its_beginning() {
        let said = |text: &str| one(text).unwrap_err().to_string();
        let beginning = "x".repeat(40);
        assert_eq!(said(&beginning), format!("\"{beginning}\" is not a number"));
        assert_eq!(said(&"x".repeat(64)), format!("\"{beginning}\".. is not a number"));
        let nines = "9".repeat(39);
        assert_eq!(said(&format!("-{}", "9".repeat(63))), format!("-{nines}.. is negative"));
        assert!(said(&"1.".repeat(20)).ends_with("is not a number"));
        assert_eq!(said(&format!("0.{}", "9".repeat(62))).matches('9').count(), 38);
    }

    #[test]
    fn results_and_errors_are_lines() {
        assert_eq!(answer::<Refusal>(Ok(832040)), "832040\n");
        assert_eq!(answer(one("a\"b")), "error: \"a\\\"b\" is not a number\n");
    }

    /// Bytes that look like a client's, so that the odd paths are taken often.
    fn conversation_bytes() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            (1_u64..50).prop_map(|n| format!("{n}\n").into_bytes()),
            (1_u64..50).prop_map(|n| format!("{n}\r\n").into_bytes()),
            (60_usize..70).prop_map(|n| vec![b'1'; n]),
            (LONGEST_LINE - 100..LONGEST_LINE + 100).prop_map(|n| vec![b' '; n]),
            prop::collection::vec(any::<u8>(), 0..20),
            Just(b"\n".to_vec()),
            Just(b"\r".to_vec()),
        ];
        prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn however_the_bytes_are_cut_the_answers_are_the_same(
            bytes in conversation_bytes(),
            cuts in prop::collection::vec(1_usize..5000, 1..40),
        ) {
            let whole = hear(Framing::Line, bytes.chunks(bytes.len().max(1)));
            let mut rest = &bytes[..];
            let mut reads = vec![];
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (read, after) = rest.split_at(rest.len().min(*cut));
                reads.push(read);
                rest = after;
            }
            prop_assert_eq!(hear(Framing::Line, reads), whole);
        }

        #[test]
        fn every_line_gets_exactly_one_answer(bytes in conversation_bytes()) {
            let (requests, open) = hear(Framing::Line, [&bytes[..]]);
            let ends = bytes.iter().filter(|&&byte| byte == b'\n').count();
            if open {
                prop_assert_eq!(requests.len(), ends);
            } else {
                prop_assert!(requests.is_empty() || requests.len() <= ends + 1);
            }
        }

        #[test]
        fn however_a_line_is_cut_into_number_and_end_its_sender_gets_one_answer_a_line(
            numbers in prop::collection::vec(1_u64..=45, 1..20),
            ends in prop::collection::vec(0_usize..4, 20),
        ) {
            const ENDS: [&[&[u8]]; 4] = [&[b"\n"], &[b"\r\n"], &[b"\r", b"\n"], &[]];
            let pieces: Vec<String> = numbers.iter().map(u64::to_string).collect();
            let reads = pieces.iter().zip(ends).flat_map(|(number, end)| {
                std::iter::once(number.as_bytes()).chain(ENDS[end].iter().copied())
            });
            let expected: Vec<Request> = numbers.iter().copied().map(Ok).collect();
            prop_assert_eq!(hear(Framing::Auto, reads), (expected, true));
        }

        #[test]
        fn in_no_framing_can_a_client_go_on_for_ever_without_an_end(
            sizes in prop::collection::vec(LONGEST_REQUEST + 1..=READ_SIZE, 1..20),
        ) {
            let endless = [b'1'; READ_SIZE];
            for framing in [Framing::Auto, Framing::Line] {
                let mut conversation = Conversation::new(rules(framing));
                let mut sent = 0;
                for size in sizes.iter().cycle() {
                    if !conversation.is_open() {
                        break;
                    }
                    let _ = conversation.received(&endless[..*size]).count();
                    sent += size;
                    prop_assert!(sent < LONGEST_LINE + READ_SIZE);
                }
            }
        }

        #[test]
        fn an_answer_is_one_line_and_short(bytes in prop::collection::vec(any::<u8>(), 1..80)) {
            for request in hear(Framing::Talk, [&bytes[..]]).0 {
                let answer = answer(request);
                prop_assert_eq!(answer.lines().count(), 1);
                prop_assert!(answer.ends_with('\n'));
                prop_assert!(answer.len() < 512);
                prop_assert!(!answer.trim_end_matches('\n').contains(char::is_control));
            }
        }

        #[test]
        fn a_number_comes_back_whatever_surrounds_it(n in 1_u64..=45, zeros in 0_usize..20, spaces in 0_usize..20) {
            let text = format!("{:spaces$}{}{n}{:spaces$}", "", "0".repeat(zeros), "");
            prop_assert_eq!(one(&text), Ok(n));
        }
    }
}
