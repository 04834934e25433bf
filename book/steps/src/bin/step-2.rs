//! Step 2, a server that blocks: one more task in the deque. Its turn lasts as long as its client stays.
use popleft_steps::{Connection, answer, arguments, listen, not_claimed};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::net::TcpListener;

/// A function that can stop in the middle and go on later. Rust has no `yield`, so what it must remember is a struct.
trait Generator {
    /// Runs to the next `yield`.
    fn resume(&mut self) -> Turn;
}

/// Why a generator has stopped.
enum Turn {
    Yield,
    Done,
}

type Task = Box<dyn Generator>;

thread_local! {
    /// The tasks that can run now. The talk calls it `tasks`.
    static READY: RefCell<VecDeque<Task>> = RefCell::default();
}

fn spawn(task: impl Generator + 'static) {
    READY.with_borrow_mut(|ready| ready.push_back(Box::new(task)));
}

/// Gives each task its turn until all are done.
fn run() {
    while let Some(mut task) = READY.with_borrow_mut(VecDeque::pop_front) {
        match task.resume() {
            Turn::Yield => READY.with_borrow_mut(|ready| ready.push_back(task)),
            Turn::Done => {}
        }
    }
}

struct Countdown {
    n: u64,
}

impl Generator for Countdown {
    fn resume(&mut self) -> Turn {
        if self.n == 0 {
            return Turn::Done;
        }
        println!("{}", self.n);
        self.n -= 1;
        Turn::Yield
    }
}

struct Server {
    listener: TcpListener,
}

impl Generator for Server {
    fn resume(&mut self) -> Turn {
        eprintln!("the server waits for a client, and the loop with it");
        if let Ok((socket, address)) = self.listener.accept() {
            eprintln!("{address} is here: nobody else gets a turn until it leaves");
            // An error is the end of this client only.
            let _ = handle(Connection::blocking(socket));
        }
        Turn::Yield
    }
}

fn handle(mut client: Connection) -> io::Result<()> {
    while client.receive()? {
        while let Some(line) = client.next_line() {
            client.reply(&answer(&line));
            while !client.send()? {}
        }
    }
    Ok(())
}

fn main() {
    let (scenario, numbers) = arguments("serve");
    match scenario.as_str() {
        "countdown" => numbers.into_iter().for_each(|n| spawn(Countdown { n })),
        "serve" => spawn(Server { listener: listen(&numbers) }),
        _ => not_claimed(&scenario, "countdown serve"),
    }
    run();
}
