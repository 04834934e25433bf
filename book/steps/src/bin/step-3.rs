//! Step 3, deque and select: a task that would block says what it waits for, and the loop asks the kernel.
use popleft_steps::select::{Interest, Sockets};
use popleft_steps::{Connection, answer, arguments, listen_non_blocking, not_claimed};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::time::Duration;
use std::{io, net::TcpListener, os::fd::AsFd, rc::Rc};

/// A function that can stop in the middle and go on later. Rust has no `yield`, so what it must remember is a struct.
trait Generator {
    /// Runs to the next `yield`.
    fn resume(&mut self) -> Turn;
}

/// Why a generator has stopped.
enum Turn {
    Yield,
    Wait(Rc<dyn AsFd>, Interest),
    Done,
}

type Task = Box<dyn Generator>;

thread_local! {
    /// The tasks that can run now. The talk calls it `tasks`.
    static READY: RefCell<VecDeque<Task>> = RefCell::default();
    /// The tasks that wait for a socket. The talk has two: `recv_wait` and `send_wait`.
    static SOCKETS: Sockets<Task> = Sockets::default();
}

fn spawn(task: impl Generator + 'static) {
    READY.with_borrow_mut(|ready| ready.push_back(Box::new(task)));
}

/// Gives each task its turn until all are done. Before each round of turns it looks outside.
fn run() {
    while anyone_left() {
        wait_for_events();
        READY.take().into_iter().for_each(resume);
    }
}

fn anyone_left() -> bool {
    !READY.with_borrow(VecDeque::is_empty) || !SOCKETS.with(Sockets::is_empty)
}

fn resume(mut task: Task) {
    match task.resume() {
        Turn::Yield => READY.with_borrow_mut(|ready| ready.push_back(task)),
        Turn::Wait(socket, interest) => {
            SOCKETS.with(|sockets| sockets.watch(socket, interest, task))
        }
        Turn::Done => {}
    }
}

fn wait_for_events() {
    let timeout = (!READY.with_borrow(VecDeque::is_empty)).then_some(Duration::ZERO);
    let woken = SOCKETS.with(|sockets| sockets.wait(timeout));
    READY.with_borrow_mut(|ready| ready.extend(woken));
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
    listener: Rc<TcpListener>,
}

impl Generator for Server {
    fn resume(&mut self) -> Turn {
        if let Ok((socket, address)) = self.listener.accept() {
            eprintln!("{address} is here, and has a task of its own");
            spawn(Connection::non_blocking(socket));
        }
        Turn::Wait(self.listener.clone(), Interest::Read)
    }
}

impl Generator for Connection {
    fn resume(&mut self) -> Turn {
        // An error is the end of this client only.
        handle(self).unwrap_or(Turn::Done)
    }
}

/// From one wait to the next. Where it went on in the middle of a loop, it must find out by itself.
fn handle(client: &mut Connection) -> io::Result<Turn> {
    if !client.send()? {
        return Ok(Turn::Wait(client.socket.clone(), Interest::Write));
    }
    let mut line = client.next_line();
    if line.is_none() {
        if !client.receive()? {
            return Ok(Turn::Done);
        }
        line = client.next_line();
    }
    match line {
        Some(line) => {
            client.reply(&answer(&line));
            Ok(Turn::Wait(client.socket.clone(), Interest::Write))
        }
        None => Ok(Turn::Wait(client.socket.clone(), Interest::Read)),
    }
}

fn main() {
    let (scenario, numbers) = arguments("crowd");
    match scenario.as_str() {
        "countdown" => numbers.into_iter().for_each(|n| spawn(Countdown { n })),
        "serve" | "crowd" => spawn(Server { listener: listen_non_blocking(&numbers) }),
        _ => not_claimed(&scenario, "countdown serve crowd"),
    }
    run();
}
