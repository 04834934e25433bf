//! What the server does when the system refuses something: it pauses, and tries again.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant};

use polling::{Events, Poller};
use popleft::generator::Yielder;

use super::socket::AsyncSocket;
use super::stopping::Client;
use super::{Scheduler, Task, Wait};
use crate::blocking::is_passing;
use crate::output;
use crate::stop::PAUSE;

#[derive(Default)]
pub(super) struct Shortage {
    /// The tasks that pause, and until when. All pauses are equally long, so the first in the deque
    /// is the first to end.
    pauses: RefCell<VecDeque<(Instant, Task)>>,
    wait_fails: Cell<bool>,
}

impl Shortage {
    pub(super) fn pause(&self, task: Task) {
        self.pauses.borrow_mut().push_back((Instant::now() + PAUSE, task));
    }

    /// Moves the tasks whose pause has ended to `ready`.
    pub(super) fn end_pauses(&self, ready: &mut VecDeque<Task>) {
        let now = Instant::now();
        let mut pauses = self.pauses.borrow_mut();
        while pauses.front().is_some_and(|(end, _)| *end <= now) {
            ready.extend(pauses.pop_front().map(|(_, task)| task));
        }
    }

    /// Waits for events, until the first pause ends at the latest.
    pub(super) fn wait(&self, poller: &Poller, events: &mut Events) {
        events.clear();
        match poller.wait(events, self.until_a_pause_ends()) {
            Ok(_) => self.wait_fails.set(false),
            // The server cannot go on without it, so it tries again. What the poller found before
            // it failed is among the events, and would not be reported again.
            Err(error) => {
                if !self.wait_fails.replace(true) {
                    output::complain(format_args!(
                        "cannot wait for sockets, trying again: {error}"
                    ));
                }
                thread::sleep(PAUSE);
            }
        }
    }

    fn until_a_pause_ends(&self) -> Option<Duration> {
        let pauses = self.pauses.borrow();
        let (end, _) = pauses.front()?;
        Some(end.saturating_duration_since(Instant::now()))
    }
}

impl Scheduler {
    /// Yields until a client has come; whatever the system refuses, this goes on.
    pub(super) async fn accept(&self, y: &Yielder<Wait>, listener: &Rc<AsyncSocket>) -> Client {
        let mut reported = false;
        loop {
            match self.try_accept(y, listener).await {
                Ok(client) => return client,
                Err(error) if is_passing(&error) => {}
                Err(error) => {
                    // Mostly no descriptor or memory is left: some client has to leave first.
                    if !std::mem::replace(&mut reported, true) {
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
        Ok(self.clients.welcome(AsyncSocket::new(socket, &self.poller)?))
    }
}

impl AsyncSocket {
    /// Receives what the server itself needs: whatever the system refuses, this goes on.
    pub(super) async fn recv_in_any_case(self: &Rc<Self>, y: &Yielder<Wait>, buffer: &mut [u8]) {
        while self.recv(y, buffer).await.is_err() {
            y.yield_(Wait::Pause).await;
        }
    }
}
