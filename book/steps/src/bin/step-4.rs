//! Step 4, futures in the deque: the compiler writes the structs. `await` is where a generator says `yield`.
use popleft_steps::select::{Interest, Sockets};
use popleft_steps::{Connection, answer, arguments, listen_non_blocking, not_claimed};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use std::{io, net::TcpListener, os::fd::AsFd, pin::Pin, rc::Rc};

/// Why a future has stopped.
enum Turn {
    Yield,
    Wait(Rc<dyn AsFd>, Interest),
}

type Task = Pin<Box<dyn Future<Output = ()>>>;

thread_local! {
    /// The tasks that can run now. The talk calls it `tasks`.
    static READY: RefCell<VecDeque<Task>> = RefCell::default();
    /// The tasks that wait for a socket. The talk has two: `recv_wait` and `send_wait`.
    static SOCKETS: Sockets<Task> = Sockets::default();
    /// What the future that has just stopped says. A generator's `resume` returns it; `poll` has no room for it.
    static TURN: Cell<Option<Turn>> = const { Cell::new(None) };
}

fn spawn<T>(future: impl Future<Output = T> + 'static) {
    let task = Box::pin(async { drop(future.await) });
    READY.with_borrow_mut(|ready| ready.push_back(task));
}

/// Runs `main`, and beside it all that it spawns. Before each round of turns it looks outside.
fn block_on(main: impl Future<Output = ()> + 'static) {
    spawn(main);
    while anyone_left() {
        wait_for_events();
        READY.take().into_iter().for_each(resume);
    }
}

fn anyone_left() -> bool {
    !READY.with_borrow(VecDeque::is_empty) || !SOCKETS.with(Sockets::is_empty)
}

fn resume(mut task: Task) {
    let mut context = Context::from_waker(Waker::noop());
    if task.as_mut().poll(&mut context).is_ready() {
        return;
    }
    match TURN.take().expect("a future stops in `pause` only") {
        Turn::Yield => READY.with_borrow_mut(|ready| ready.push_back(task)),
        Turn::Wait(socket, interest) => {
            SOCKETS.with(|sockets| sockets.watch(socket, interest, task))
        }
    }
}

fn wait_for_events() {
    let timeout = (!READY.with_borrow(VecDeque::is_empty)).then_some(Duration::ZERO);
    let woken = SOCKETS.with(|sockets| sockets.wait(timeout));
    READY.with_borrow_mut(|ready| ready.extend(woken));
}

/// The `yield`: tells the loop why, and stops once.
async fn pause(turn: Turn) {
    TURN.set(Some(turn));
    let mut outcomes = [Poll::Pending, Poll::Ready(())].into_iter();
    poll_fn(|_| outcomes.next().expect("polled twice")).await
}

async fn yield_now() {
    pause(Turn::Yield).await
}

async fn ready(socket: &Rc<impl AsFd + 'static>, interest: Interest) {
    pause(Turn::Wait(socket.clone(), interest)).await
}

async fn countdown(n: u64) {
    for n in (1..=n).rev() {
        println!("{n}");
        yield_now().await;
    }
}

async fn serve(listener: Rc<TcpListener>) {
    loop {
        ready(&listener, Interest::Read).await;
        if let Ok((socket, address)) = listener.accept() {
            eprintln!("{address} is here, and has a task of its own");
            spawn(handle(Connection::non_blocking(socket)));
        }
    }
}

async fn handle(mut client: Connection) -> io::Result<()> {
    while client.receive()? {
        while let Some(line) = client.next_line() {
            client.reply(&answer(&line));
            while !client.send()? {
                ready(&client.socket, Interest::Write).await;
            }
        }
        ready(&client.socket, Interest::Read).await;
    }
    Ok(())
}

fn main() {
    let (scenario, numbers) = arguments("crowd");
    block_on(async move {
        match scenario.as_str() {
            "countdown" => numbers.into_iter().for_each(|n| spawn(countdown(n))),
            "serve" | "crowd" => serve(listen_non_blocking(&numbers)).await,
            _ => not_claimed(&scenario, "countdown serve crowd"),
        }
    });
}
