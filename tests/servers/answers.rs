//! What is asked, and what is answered.

use std::io::{Read, Write};
use std::thread;

use crate::server_process::{Kind, text};

laws![
    requests_are_answered_with_the_number,
    what_is_no_request_is_answered_with_the_reason_and_the_connection_lives,
    a_line_that_is_too_long_is_swallowed_to_its_end,
    a_line_of_64_kib_is_refused_and_the_connection_closed,
    a_request_may_come_in_pieces,
    the_end_in_mid_line_is_no_request,
    the_talks_framing_is_understood,
    a_number_and_its_end_may_come_one_after_the_other,
    a_line_of_64_kib_is_refused_also_where_the_framing_is_guessed,
    one_framing_can_be_demanded,
    the_largest_n_can_be_set,
    pipelined_requests_are_answered_in_order,
];

fn requests_are_answered_with_the_number(kind: Kind) {
    let server = kind.start();
    let mut client = server.connect();
    for (request, answer) in [
        ("1", "1"),
        ("2", "1"),
        ("10", "55"),
        ("20\r", "6765"),
        ("  7 ", "13"),
        ("\t7", "13"),
        (" 7 \r", "13"),
        ("007", "13"),
        ("+5", "5"),
    ] {
        assert_eq!(client.ask(request), answer, "{request:?}");
    }
}

fn what_is_no_request_is_answered_with_the_reason_and_the_connection_lives(kind: Kind) {
    let server = kind.start_with(&["--framing", "line"]);
    let mut client = server.connect();
    for (wrong, reason) in [
        ("", "empty"),
        (" ", "empty"),
        ("\r", "empty"),
        ("x", "not a number"),
        ("1x", "not a number"),
        ("1e3", "not a number"),
        ("1 2", "not a number"),
        ("+", "not a number"),
        ("٣", "not a number"),
        ("1\r2", "not a number"),
        ("\x1b[2J", "not a number"),
        ("-5", "negative"),
        ("1.5", "fraction"),
        ("-1.5", "fraction"),
        ("0", "no fib(0)"),
        ("000", "no fib(0)"),
        ("-0", "no fib(0)"),
        ("46", "above 45"),
        ("99999999999999999999", "above 45"),
    ] {
        let answer = client.ask(wrong);
        assert!(answer.starts_with("error: "), "{wrong:?}: {answer:?}");
        assert!(answer.contains(reason), "{wrong:?}: {answer:?}");
        // Nothing of what was sent can move a terminal's cursor, or begin another line.
        assert!(!answer.contains(char::is_control), "{answer:?}");
    }
    let answer = client.ask(b"\xff\xfe");
    assert_eq!(answer, "error: the request is not UTF-8");
    assert_eq!(client.ask("10"), "55");
}

fn a_line_that_is_too_long_is_swallowed_to_its_end(kind: Kind) {
    let server = kind.start_with(&["--framing", "line"]);
    let mut client = server.connect();
    let too_long = "error: the request is longer than 64 bytes";
    let spaces = |count| " ".repeat(count);
    assert_eq!(client.ask(spaces(62) + "10"), "55");
    assert_eq!(client.ask(spaces(62) + "10\r"), "55");
    assert_eq!(client.ask(spaces(63) + "10"), too_long);
    // The rest is no request of its own, however the line is cut.
    client.send("1".repeat(100));
    client.send("1".repeat(100));
    client.send("11\n10\n");
    assert_eq!(client.answer(), too_long);
    assert_eq!(client.answer(), "55");
    // One byte more would be too much, below.
    assert_eq!(client.ask("1".repeat(64 * 1024 - 1)), too_long);
    assert_eq!(client.ask("10"), "55");
}

fn a_line_of_64_kib_is_refused_and_the_connection_closed(kind: Kind) {
    let server = kind.start_with(&["--framing", "line"]);
    // The answer arrives also when the client goes on sending, and never ends its line.
    for length in [64 * 1024, 300_000] {
        let mut client = server.connect();
        assert_eq!(client.ask("5"), "5");
        // The server may close before it has read all of it.
        let _ = client.stream().write_all(&vec![b'1'; length]);
        let answer = client.answer();
        assert!(answer.starts_with("error: no end of line"), "{answer:?}");
        assert_eq!(client.rest(), "");
    }
    assert_eq!(server.connect().ask("10"), "55");
}

fn a_request_may_come_in_pieces(kind: Kind) {
    let server = kind.start_with(&["--framing", "line"]);
    let mut client = server.connect();
    for piece in ["1", "0", "\r", "\n", "1", "1\n1", "2", "\n"] {
        client.send(piece);
    }
    assert_eq!(client.answer(), "55");
    assert_eq!(client.answer(), "89");
    assert_eq!(client.answer(), "144");
}

fn the_end_in_mid_line_is_no_request(kind: Kind) {
    let server = kind.start();
    for (sent, answered) in [("3\n4", "2\n"), ("", ""), ("3\n\n", "2\nerror: ")] {
        let client = server.connect();
        client.send(sent);
        client.say_goodbye();
        let rest = client.rest();
        assert!(rest.starts_with(answered), "{sent:?}: {rest:?}");
        assert_eq!(rest.lines().count(), answered.lines().count(), "{rest:?}");
    }
}

fn the_talks_framing_is_understood(kind: Kind) {
    let server = kind.start();
    let client = server.connect();
    let mut answer = [0; 100];
    for (request, expected) in [
        ("20", "6765\n"),
        ("1", "1\n"),
        ("x", "error: \"x\" is not a number\n"),
        // It speaks so for its whole life: this is one request, and spaces around are fine.
        ("10\n", "55\n"),
        ("1\n2\n", "error: \"1\\n2\" is not a number\n"),
        ("11", "89\n"),
    ] {
        client.send(request);
        let length = client.stream().read(&mut answer).unwrap();
        assert_eq!(text(&answer[..length]), expected, "{request:?}");
    }
}

fn a_number_and_its_end_may_come_one_after_the_other(kind: Kind) {
    let server = kind.start();
    let mut client = server.connect();
    for end in ["\r\n", "\n"] {
        for (number, answer) in [("10", "55"), ("x", "error: \"x\" is not a number"), ("11", "89")]
        {
            client.send(number);
            assert_eq!(client.answer(), answer);
            // Whether it is read by itself or with the next number.
            client.send(end);
        }
    }
    client.say_goodbye();
    assert_eq!(client.rest(), "");
}

fn a_line_of_64_kib_is_refused_also_where_the_framing_is_guessed(kind: Kind) {
    let server = kind.start();
    let client = server.connect();
    // The server may close before it has read all of it.
    let _ = client.stream().write_all(&vec![b'1'; 300_000]);
    let answers = client.rest();
    let last = answers.lines().last().unwrap();
    assert!(last.starts_with("error: no end of line"), "{last:?}");
    assert!(answers.lines().count() < 64 * 1024 / 64, "{}", answers.lines().count());
    assert_eq!(server.connect().ask("10"), "55");
}

fn one_framing_can_be_demanded(kind: Kind) {
    // In lines, what has no end is no request, although it could be one of the talk's.
    let server = kind.start_with(&["--framing", "line"]);
    let client = server.connect();
    client.send("10");
    client.say_goodbye();
    assert_eq!(client.rest(), "");
    // In the talk's framing, what arrives together is one request, although it could be two lines.
    let server = kind.start_with(&["--framing", "talk"]);
    let mut client = server.connect();
    assert_eq!(client.ask("1\n2"), "error: \"1\\n2\" is not a number");
    assert_eq!(client.ask("10"), "55");
}

fn the_largest_n_can_be_set(kind: Kind) {
    let server = kind.start_with(&["--max-n", "20"]);
    let mut client = server.connect();
    assert_eq!(client.ask("20"), "6765");
    assert!(client.ask("21").contains("above 20"));
}

fn pipelined_requests_are_answered_in_order(kind: Kind) {
    const REQUESTS: usize = 10_000;
    let server = kind.start();
    let mut client = server.connect();
    let numbers = [1, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144];
    let request = |i: usize| match i % 13 {
        12 => String::from("x\n"),
        n if n < 6 => format!("{}\n", n + 1),
        n => format!("{}\r\n", n + 1),
    };
    let requests: String = (0..REQUESTS).map(request).collect();
    let mut sending = client.stream().try_clone().unwrap();
    let sender = thread::spawn(move || sending.write_all(requests.as_bytes()).unwrap());
    for i in 0..REQUESTS {
        let expected = match numbers.get(i % 13) {
            Some(number) => number.to_string(),
            None => String::from("error: \"x\" is not a number"),
        };
        assert_eq!(client.answer(), expected, "request {i}");
    }
    sender.join().unwrap();
}
