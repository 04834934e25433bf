//! The server at the heart of the talk: many clients, one thread, and nothing but generators.
//!
//! Wherever the sequential server would block, this one *yields*, and says what it waits for: to
//! receive from a socket, to send to one, or for a future, a result that another thread is working
//! on. The [`Scheduler`] notes the waiting task in one of three tables and runs another one. When
//! nobody is ready, it asks the kernel which of all those sockets are.
//!
//! **The second client** is served at once. With `--compute inline`, `fib` runs in the loop:
//! while it computes nobody else is served, since nothing yields there. With `--compute threads`,
//! as at the end of the talk, a pool computes and short requests keep most of their rate.
//!
//! In the talk: `aserver.py`, typed live from an empty file. In the book: "The deque and select".
//! All of it is in this file: the server first, then the scheduler, the sockets and the pool.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError, Weak, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Parser;
use polling::{Event, Events, Poller};
use popleft::generator::{Generator, Resumed, Yielder};
use socket2::Socket;

use crate::blocking::is_passing;
use crate::cli::{self, ComputeOptions, ServerOptions};
use crate::fib::fib;
use crate::output;
use crate::protocol::{Conversation, READ_SIZE, Rules, answer};
use crate::stop::{self, CANNOT_CATCH, Connection, Connections, PAUSE, READS_AFTER_GOODBYE};

// ===== the server ===============================================================================

/// A task: a generator that yields what it waits for.
pub type Task = Generator<Wait, (), io::Result<()>>;

/// What a task waits for.
#[derive(Debug)]
pub enum Wait {
    Recv(Rc<AsyncSocket>),
    Send(Rc<AsyncSocket>),
    Future(FutureId),
    /// For a moment, before it asks the system again for what was refused.
    Pause,
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

// ===== the scheduler ============================================================================

/// The tasks that are ready, and those that wait.
pub struct Scheduler {
    tasks: RefCell<VecDeque<Task>>,
    /// Who waits to receive, and who to send, by file descriptor.
    recv_wait: RefCell<HashMap<usize, Task>>,
    send_wait: RefCell<HashMap<usize, Task>>,
    future_wait: RefCell<HashMap<FutureId, Task>>,
    /// Who pauses, and until when. All pauses are equally long, so the first is the first to end.
    pauses: RefCell<VecDeque<(Instant, Task)>>,
    poller: Rc<Poller>,
    pool: Pool,
    compute_in_pool: bool,
    /// The connections that are open, for when the server is to stop.
    clients: Connections<AsyncSocket>,
    wait_fails: Cell<bool>,
    stopping: Cell<bool>,
}

impl Scheduler {
    /// Adds a task on the right end of the deque.
    pub fn spawn(&self, task: Task) {
        self.tasks.borrow_mut().push_back(task);
    }

    /// Runs tasks until the server has stopped.
    pub fn run(&self) {
        let mut events = Events::new();
        while !self.has_stopped() {
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
            Resumed::Yielded(Wait::Pause) => {
                self.pauses.borrow_mut().push_back((Instant::now() + PAUSE, task));
            }
            // The task is done. An error was its connection's, which is closed with it.
            Resumed::Complete(_) => {}
        }
    }

    /// Sleeps until the kernel has something for a waiting task: the talk's `select`.
    fn wait_for_io(&self, events: &mut Events) {
        events.clear();
        match self.poller.wait(events, self.until_a_pause_ends()) {
            Ok(_) => self.wait_fails.set(false),
            // Without it nothing goes on, so it is not given up. What was found before it failed
            // is among the events, and would not be told again.
            Err(error) => {
                if !self.wait_fails.replace(true) {
                    output::complain(format_args!(
                        "cannot wait for sockets, trying again: {error}"
                    ));
                }
                thread::sleep(PAUSE);
            }
        }
        let mut tasks = self.tasks.borrow_mut();
        for event in events.iter() {
            if event.readable {
                tasks.extend(self.recv_wait.borrow_mut().remove(&event.key));
            }
            if event.writable {
                tasks.extend(self.send_wait.borrow_mut().remove(&event.key));
            }
        }
        let now = Instant::now();
        let mut pauses = self.pauses.borrow_mut();
        while pauses.front().is_some_and(|(end, _)| *end <= now) {
            tasks.extend(pauses.pop_front().map(|(_, task)| task));
        }
    }

    fn until_a_pause_ends(&self) -> Option<Duration> {
        let pauses = self.pauses.borrow();
        let (end, _) = pauses.front()?;
        Some(end.saturating_duration_since(Instant::now()))
    }
}

// ===== sockets ==================================================================================

/// The connection to a client, known to the scheduler until its handler has ended.
type Client = Connection<AsyncSocket>;

/// A socket that yields where others block.
#[derive(Debug)]
pub struct AsyncSocket {
    socket: Socket,
    poller: Rc<Poller>,
}

impl AsyncSocket {
    #[allow(unsafe_code)]
    fn new(socket: Socket, poller: &Rc<Poller>) -> io::Result<Rc<AsyncSocket>> {
        socket.set_nonblocking(true)?;
        let async_socket = AsyncSocket { socket, poller: poller.clone() };
        let nothing_yet = Event::none(async_socket.key());
        // SAFETY: the poller must not outlive its interest in a closed socket. `drop` deletes the
        // socket from the poller before it is closed, and nobody else can close it.
        unsafe { poller.add(&async_socket.socket, nothing_yet)? };
        Ok(Rc::new(async_socket))
    }

    fn key(&self) -> usize {
        self.socket.as_raw_fd() as usize
    }

    async fn recv(self: &Rc<Self>, y: &Yielder<Wait>, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            self.readable(y).await?;
            match (&self.socket).read(buffer) {
                Err(error) if is_not_ready(&error) => {}
                done => return done,
            }
        }
    }

    async fn send_all(self: &Rc<Self>, y: &Yielder<Wait>, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            self.writable(y).await?;
            match (&self.socket).write(bytes) {
                Ok(sent) => bytes = &bytes[sent..],
                Err(error) if is_not_ready(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Yields until the kernel says that there is something to receive. What it refuses is this
    /// task's trouble, and no one else's.
    async fn readable(self: &Rc<Self>, y: &Yielder<Wait>) -> io::Result<()> {
        self.poller.modify(&self.socket, Event::readable(self.key()))?;
        y.yield_(Wait::Recv(self.clone())).await;
        Ok(())
    }

    /// Yields until the kernel says that there is room to send.
    async fn writable(self: &Rc<Self>, y: &Yielder<Wait>) -> io::Result<()> {
        self.poller.modify(&self.socket, Event::writable(self.key()))?;
        y.yield_(Wait::Send(self.clone())).await;
        Ok(())
    }

    /// Receives what the server itself needs: whatever the system refuses, this goes on.
    async fn recv_in_any_case(self: &Rc<Self>, y: &Yielder<Wait>, buffer: &mut [u8]) {
        while self.recv(y, buffer).await.is_err() {
            y.yield_(Wait::Pause).await;
        }
    }

    /// Says goodbye, and reads away what the client still sends: closing a socket with unread
    /// bytes resets the connection, and the client could lose the last answer.
    async fn hang_up(self: &Rc<Self>, y: &Yielder<Wait>) -> io::Result<()> {
        self.socket.shutdown(Shutdown::Write)?;
        let mut buffer = [0; READ_SIZE];
        for _ in 0..READS_AFTER_GOODBYE {
            if self.recv(y, &mut buffer).await? == 0 {
                break;
            }
        }
        Ok(())
    }
}

impl Drop for AsyncSocket {
    fn drop(&mut self) {
        // It was added when it was made, so this does not fail; nor could anything be done.
        let _ = self.poller.delete(&self.socket);
    }
}

/// Whether the kernel woke us for nothing.
fn is_not_ready(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

impl Scheduler {
    async fn accept(&self, y: &Yielder<Wait>, listener: &Rc<AsyncSocket>) -> Client {
        let mut complained = false;
        loop {
            match self.try_accept(y, listener).await {
                Ok(client) => return client,
                Err(error) if is_passing(&error) => {}
                Err(error) => {
                    // Mostly no descriptor or memory is left: some client has to leave first.
                    if !std::mem::replace(&mut complained, true) {
                        output::complain(format_args!(
                            "cannot accept a client, trying again: {error}"
                        ));
                    }
                    y.yield_(Wait::Pause).await;
                }
            }
        }
    }

    async fn try_accept(
        &self,
        y: &Yielder<Wait>,
        listener: &Rc<AsyncSocket>,
    ) -> io::Result<Client> {
        listener.readable(y).await?;
        let (socket, _) = listener.socket.accept()?;
        // An answer must not wait until the client has acknowledged the one before.
        socket.set_tcp_nodelay(true)?;
        Ok(self.welcome(AsyncSocket::new(socket, &self.poller)?))
    }
}

// ===== futures ==================================================================================

/// Names a future in the table of those who wait.
pub type FutureId = u64;

/// Threads that compute, and how the loop learns that they are done.
struct Pool {
    jobs: mpsc::Sender<Job>,
    last_id: Cell<FutureId>,
    done: mpsc::Sender<FutureId>,
    /// A byte sent here is received by the loop, which wakes when it sleeps.
    future_notify: Arc<UnixStream>,
}

type Job = Box<dyn FnOnce() + Send>;

impl Pool {
    fn start(
        threads: usize,
        done: mpsc::Sender<FutureId>,
        future_notify: UnixStream,
    ) -> io::Result<Pool> {
        let (jobs, queue) = mpsc::channel::<Job>();
        let queue = Arc::new(Mutex::new(queue));
        for _ in 0..threads {
            let queue = queue.clone();
            thread::Builder::new().spawn(move || while run_next_job(&queue) {})?;
        }
        Ok(Pool { jobs, last_id: Cell::new(0), done, future_notify: Arc::new(future_notify) })
    }

    /// Queues `work`; the receiver has its result once the future with this id is done.
    fn submit<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> (FutureId, mpsc::Receiver<T>) {
        let id = self.last_id.get() + 1;
        self.last_id.set(id);
        let (sender, result) = mpsc::channel();
        let done = self.done.clone();
        let future_notify = Arc::downgrade(&self.future_notify);
        let job = move || {
            // Sending fails only when the loop has ended and nobody waits any more.
            let _ = sender.send(work());
            let _ = done.send(id);
            wake_the_loop(&future_notify);
        };
        self.jobs.send(Box::new(job)).expect("the threads run on");
        (id, result)
    }
}

/// Sends the byte: without it a task could wait for ever. So it is tried for as long as there is a
/// loop.
fn wake_the_loop(future_notify: &Weak<UnixStream>) {
    while let Some(future_notify) = future_notify.upgrade() {
        match (&*future_notify).write(b"x") {
            Ok(_) => return,
            // It is full: then the loop is going to wake anyway.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            Err(_) => thread::sleep(PAUSE),
        }
    }
}

/// `false` when the pool is gone.
fn run_next_job(queue: &Mutex<mpsc::Receiver<Job>>) -> bool {
    let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
    match next {
        Ok(job) => job(),
        Err(mpsc::RecvError) => return false,
    }
    true
}

impl Scheduler {
    async fn fib(&self, y: &Yielder<Wait>, n: u64) -> u64 {
        if self.compute_in_pool { self.run_in_pool(y, move || fib(n)).await } else { fib(n) }
    }

    async fn run_in_pool<T: Send + 'static>(
        &self,
        y: &Yielder<Wait>,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        let (id, result) = self.pool.submit(work);
        y.yield_(Wait::Future(id)).await;
        result.recv().expect("the future is done")
    }
}

/// A task that makes those ready whose future is done. It runs between turns like every other
/// task, so whoever has submitted a future stands in the table before it looks there.
fn future_monitor(
    scheduler: Rc<Scheduler>,
    future_event: Rc<AsyncSocket>,
    done: mpsc::Receiver<FutureId>,
) -> Task {
    Generator::new(move |y| async move {
        loop {
            future_event.recv_in_any_case(&y, &mut [0; 100]).await;
            for id in done.try_iter() {
                let task = scheduler.future_wait.borrow_mut().remove(&id);
                scheduler.tasks.borrow_mut().extend(task);
            }
        }
    })
}

// ===== stopping =================================================================================

impl AsyncSocket {
    /// Reads return what has arrived already, and then the end of file.
    fn end_reading(&self) {
        // An error means that the connection is gone: nobody reads from it either way.
        let _ = self.socket.shutdown(Shutdown::Read);
    }
}

impl Scheduler {
    /// Keeps an eye on a connection for as long as it is served.
    fn welcome(&self, client: Rc<AsyncSocket>) -> Client {
        if self.stopping.get() {
            client.end_reading();
        }
        self.clients.add(client)
    }

    fn has_stopped(&self) -> bool {
        self.stopping.get() && self.clients.is_empty()
    }
}

/// A task that waits for the signal to stop. It closes the listener, and has every client read
/// the end of file once all that it has sent is answered.
fn stop_monitor(
    scheduler: Rc<Scheduler>,
    signal_event: Rc<AsyncSocket>,
    listener_key: usize,
) -> Task {
    Generator::new(move |y| async move {
        signal_event.recv_in_any_case(&y, &mut [0; 1]).await;
        scheduler.stopping.set(true);
        let accepting = scheduler.recv_wait.borrow_mut().remove(&listener_key);
        drop(accepting);
        for client in scheduler.clients.all() {
            client.end_reading();
        }
        Ok(())
    })
}

// ===== the program ==============================================================================

/// The Fibonacci server on generators, as the talk builds it
///
/// One thread serves all clients. What it would wait for, a generator yields.
#[derive(Debug, Parser)]
#[command(name = "fib-generators", version, after_help = EXAMPLES)]
struct Options {
    #[command(flatten)]
    server: ServerOptions,

    #[command(flatten)]
    compute: ComputeOptions,
}

const EXAMPLES: &str = "\
Examples:
  fib-generators                        listen on 127.0.0.1:25000, compute in 4 threads
  fib-generators --compute inline       compute in the loop, and see who pays
  fib-generators --workers 2            compute two requests at once";

pub fn main() -> ExitCode {
    run_from(cli::arguments())
}

/// Runs the server with these arguments, the program's name left out.
pub fn run_from(args: impl Iterator<Item = OsString>) -> ExitCode {
    cli::run("fib-generators", args, serve)
}

fn serve(options: Options) -> anyhow::Result<()> {
    let threads = options.compute.threads()?;
    let listener = options.server.listen()?;
    let addr = listener.local_addr().context("cannot learn the listener's address")?;
    let signal_event = stop::signals().context(CANNOT_CATCH)?;
    stop::at_signal(|| {})?;
    let (scheduler, monitor) = new_scheduler(threads)?;
    start_server(&scheduler, listener, signal_event, options.server.rules())?;
    scheduler.spawn(monitor);
    cli::announce(addr)?;
    scheduler.run();
    Ok(())
}

fn new_scheduler(threads: Option<usize>) -> anyhow::Result<(Rc<Scheduler>, Task)> {
    let (future_notify, future_event) = UnixStream::pair().context("cannot make a socket pair")?;
    future_notify.set_nonblocking(true).context("cannot make a socket non-blocking")?;
    let (done_sender, done) = mpsc::channel();
    let poller = Rc::new(Poller::new().context("cannot make the poller")?);
    let pool = Pool::start(threads.unwrap_or(0), done_sender, future_notify);
    let scheduler = Rc::new(Scheduler {
        tasks: RefCell::default(),
        recv_wait: RefCell::default(),
        send_wait: RefCell::default(),
        future_wait: RefCell::default(),
        pauses: RefCell::default(),
        pool: pool.context("cannot start a thread of the pool")?,
        compute_in_pool: threads.is_some(),
        poller: poller.clone(),
        clients: Connections::default(),
        wait_fails: Cell::new(false),
        stopping: Cell::new(false),
    });
    let future_event = AsyncSocket::new(OwnedFd::from(future_event).into(), &poller);
    let future_event = future_event.context(CANNOT_WATCH)?;
    let monitor = future_monitor(scheduler.clone(), future_event, done);
    Ok((scheduler, monitor))
}

/// What is said when a socket that the server itself needs cannot be added to the poller.
const CANNOT_WATCH: &str = "cannot watch a socket";

fn start_server(
    scheduler: &Rc<Scheduler>,
    listener: TcpListener,
    signal_event: UnixStream,
    rules: Rules,
) -> anyhow::Result<()> {
    let listener = AsyncSocket::new(listener.into(), &scheduler.poller).context(CANNOT_WATCH)?;
    let signal_event = AsyncSocket::new(OwnedFd::from(signal_event).into(), &scheduler.poller);
    let signal_event = signal_event.context(CANNOT_WATCH)?;
    let listener_key = listener.key();
    scheduler.spawn(fib_server(scheduler.clone(), listener, rules));
    scheduler.spawn(stop_monitor(scheduler.clone(), signal_event, listener_key));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the scheduler until all of `tasks` have ended.
    fn run(scheduler: &Rc<Scheduler>, monitor: Task, tasks: Vec<Task>) {
        let left = Rc::new(Cell::new(tasks.len()));
        scheduler.spawn(monitor);
        for mut task in tasks {
            let left = left.clone();
            let scheduler_to_stop = scheduler.clone();
            scheduler.spawn(Generator::new(move |y| async move {
                while let Resumed::Yielded(wait) = task.resume(()) {
                    y.yield_(wait).await;
                }
                left.set(left.get() - 1);
                scheduler_to_stop.stopping.set(left.get() == 0);
                Ok(())
            }));
        }
        scheduler.run();
        assert_eq!(left.get(), 0);
    }

    fn socket_pair(scheduler: &Scheduler) -> [Rc<AsyncSocket>; 2] {
        let (left, right) = UnixStream::pair().unwrap();
        [left, right]
            .map(|end| AsyncSocket::new(OwnedFd::from(end).into(), &scheduler.poller).unwrap())
    }

    #[test]
    fn one_task_sends_more_than_fits_while_another_receives() {
        const LENGTH: usize = 3_000_000;
        let (scheduler, monitor) = new_scheduler(Some(1)).unwrap();
        let [sender, receiver] = socket_pair(&scheduler);
        let received = Rc::new(Cell::new(0));
        let count = received.clone();
        let send: Task = Generator::new(|y| async move {
            sender.send_all(&y, &vec![7; LENGTH]).await?;
            sender.hang_up(&y).await
        });
        let receive: Task = Generator::new(|y| async move {
            let mut buffer = [0; 10_000];
            loop {
                match receiver.recv(&y, &mut buffer).await? {
                    0 => return Ok(()),
                    length => count.set(count.get() + length),
                }
            }
        });
        run(&scheduler, monitor, vec![receive, send]);
        assert_eq!(received.get(), LENGTH);
    }

    #[test]
    fn every_future_s_result_comes_to_the_task_that_waits_for_it() {
        let (scheduler, monitor) = new_scheduler(Some(3)).unwrap();
        let results = Rc::new(RefCell::new(vec![]));
        let tasks = (1..=200).map(|n| {
            let scheduler = scheduler.clone();
            let results = results.clone();
            let task: Task = Generator::new(move |y| async move {
                for _ in 0..5 {
                    let result = scheduler.fib(&y, n % 20 + 1).await;
                    results.borrow_mut().push(result == fib(n % 20 + 1));
                }
                Ok(())
            });
            task
        });
        run(&scheduler, monitor, tasks.collect());
        assert_eq!(*results.borrow(), vec![true; 1000]);
    }

    #[test]
    fn inline_nothing_is_yielded_while_fib_computes() {
        let (scheduler, _monitor) = new_scheduler(None).unwrap();
        let computing = scheduler.clone();
        let mut task: Task = Generator::new(move |y| async move {
            assert_eq!(computing.fib(&y, 10).await, 55);
            Ok(())
        });
        assert!(matches!(task.resume(()), Resumed::Complete(Ok(()))));
    }
}
