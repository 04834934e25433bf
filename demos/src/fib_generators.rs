//! The server at the heart of the talk: many clients, one thread, and nothing but generators.
//!
//! Where the sequential server blocks, a task yields what it waits for; the scheduler runs another
//! task, and when none is ready it asks the kernel. In the talk: `aserver.py`. In the book: "The
//! deque and select".

mod pool;
mod program;
mod shortage;
mod socket;
mod stopping;

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::io;
use std::rc::Rc;

use polling::{Events, Poller};
use popleft::generator::{Generator, Resumed};

use self::pool::{FutureId, Pool};
pub use self::program::{main, run_from};
use self::shortage::Shortage;
use self::socket::AsyncSocket;
use self::stopping::{Client, Clients};
use crate::protocol::{Conversation, READ_SIZE, Rules, answer};

/// A task: a generator that yields what it waits for.
type Task = Generator<Wait, (), io::Result<()>>;

/// What a task waits for.
enum Wait {
    Recv(Rc<AsyncSocket>),
    Send(Rc<AsyncSocket>),
    Future(FutureId),
    /// For a moment, before it asks the system again for what was refused.
    Pause,
}

/// The tasks that are ready, and those that wait.
struct Scheduler {
    tasks: RefCell<VecDeque<Task>>,
    recv_wait: RefCell<HashMap<usize, Task>>,
    send_wait: RefCell<HashMap<usize, Task>>,
    future_wait: RefCell<HashMap<FutureId, Task>>,
    poller: Rc<Poller>,
    pool: Pool,
    clients: Clients,
    shortage: Shortage,
}

impl Scheduler {
    /// Runs tasks until the server has stopped.
    fn run(&self) {
        let mut events = Events::new();
        while !self.clients.have_been_served() {
            let ready = self.tasks.borrow_mut().pop_front();
            match ready {
                Some(task) => self.run_to_the_yield(task),
                None => self.wait_for_io(&mut events),
            }
        }
    }

    fn run_to_the_yield(&self, mut task: Task) {
        match task.resume(()) {
            Resumed::Yielded(Wait::Recv(socket)) => {
                self.recv_wait.borrow_mut().insert(socket.key(), task);
            }
            Resumed::Yielded(Wait::Send(socket)) => {
                self.send_wait.borrow_mut().insert(socket.key(), task);
            }
            Resumed::Yielded(Wait::Future(id)) => {
                self.future_wait.borrow_mut().insert(id, task);
            }
            Resumed::Yielded(Wait::Pause) => self.shortage.pause(task),
            // The task is done. An error was its connection's, which is closed with it.
            Resumed::Complete(_) => {}
        }
    }

    /// Sleeps until the kernel has something for a waiting task: the talk's `select`.
    fn wait_for_io(&self, events: &mut Events) {
        self.shortage.wait(&self.poller, events);
        let mut tasks = self.tasks.borrow_mut();
        for event in events.iter() {
            if event.readable {
                tasks.extend(self.recv_wait.borrow_mut().remove(&event.key));
            }
            if event.writable {
                tasks.extend(self.send_wait.borrow_mut().remove(&event.key));
            }
        }
        self.shortage.end_pauses(&mut tasks);
    }

    /// Adds a task on the right end of the deque.
    fn spawn(&self, task: Task) {
        self.tasks.borrow_mut().push_back(task);
    }
}

fn fib_server(scheduler: Rc<Scheduler>, listener: Rc<AsyncSocket>, rules: Rules) -> Task {
    Generator::new(move |y| async move {
        loop {
            let client = scheduler.accept(&y, &listener).await; // yields
            scheduler.spawn(fib_handler(scheduler.clone(), client, rules));
        }
    })
}

fn fib_handler(scheduler: Rc<Scheduler>, client: Client, rules: Rules) -> Task {
    Generator::new(move |y| async move {
        let mut conversation = Conversation::new(rules);
        let mut buffer = [0; READ_SIZE];
        while conversation.is_open() {
            let length = client.recv(&y, &mut buffer).await?; // yields
            for request in conversation.received(&buffer[..length]) {
                let result = match request {
                    Ok(n) => Ok(scheduler.fib(&y, n).await), // yields, when a thread computes
                    Err(refusal) => Err(refusal),
                };
                client.send_all(&y, answer(result).as_bytes()).await?; // yields
            }
        }
        client.hang_up(&y).await
    })
}
