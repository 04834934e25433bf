//! Accepting connections, and which errors a listener outlives.
//!
//! A call of accept hands out the errors of the connection that it would have returned: a client
//! that has gone, a firewall, a network that is down. One client's error must not end the service
//! for all the others; nor must a shortage, which ends when somebody gives something back. So a
//! listener gives up only when it is the listener that cannot be used.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::Future;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustix::io::Errno;

use super::async_io::{Async, Wait, used_elsewhere};
use super::socket::ListeningSocket;
use super::stream::Stream;
use super::tcp::{TcpListener, TcpStream};
use crate::time::Sleep;

/// How long a listener waits after an error that would come again at once.
pub(crate) const PAUSE: Duration = Duration::from_millis(50);

/// So many connections are passed over in a row before the listener pauses all the same.
const PASSED_OVER: u32 = 128;

/// The errors of one connection, as accept(2) lists them: the next one may be a good one.
const OF_A_CONNECTION: &[Errno] = &[
    Errno::CONNABORTED,
    Errno::PROTO,
    Errno::NETDOWN,
    Errno::NOPROTOOPT,
    Errno::HOSTDOWN,
    #[cfg(any(target_os = "linux", target_os = "android"))]
    Errno::NONET,
    Errno::HOSTUNREACH,
    Errno::OPNOTSUPP,
    Errno::NETUNREACH,
    Errno::TIMEDOUT,
    // A firewall's rule.
    Errno::PERM,
    Errno::INTR,
];

/// The listener is none: no later call can succeed.
const OF_THE_LISTENER: &[Errno] = &[Errno::BADF, Errno::INVAL, Errno::NOTSOCK, Errno::FAULT];

/// What a listener does after an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// Accepts again at once.
    Again,
    /// Accepts again after a pause.
    Pause,
    /// Returns the error.
    GiveUp,
}

/// `None`: the error is not one of the system's.
fn next_after(errno: Option<Errno>) -> Next {
    match errno {
        Some(errno) if OF_A_CONNECTION.contains(&errno) => Next::Again,
        Some(errno) if OF_THE_LISTENER.contains(&errno) => Next::GiveUp,
        // Shortages, and what nobody has thought of.
        Some(_) => Next::Pause,
        None => Next::GiveUp,
    }
}

/// What a listener remembers of its errors.
#[derive(Default)]
pub(crate) struct Setbacks {
    /// How many connections were passed over since one was accepted.
    passed_over: Cell<u32>,
    /// What has been said, each once in the listener's life.
    told: RefCell<Vec<String>>,
}

impl Setbacks {
    fn next(&self, error: &io::Error) -> Next {
        let mut next = next_after(Errno::from_io_error(error));
        if error.kind() == io::ErrorKind::ConnectionAborted {
            next = Next::Again;
        }
        if next == Next::Again {
            self.passed_over.set(self.passed_over.get() + 1);
            if self.passed_over.get() < PASSED_OVER {
                return Next::Again;
            }
            next = Next::Pause;
        }
        if next == Next::Pause {
            self.passed_over.set(0);
            self.tell(error);
        }
        next
    }

    /// A connection was accepted.
    fn end(&self) {
        self.passed_over.set(0);
    }

    /// Says once for each text that a connection was not accepted, and why.
    pub(crate) fn tell(&self, error: &io::Error) {
        let text = error.to_string();
        let mut told = self.told.borrow_mut();
        if !told.contains(&text) {
            let line = format!("popleft: cannot accept a connection: {text}; trying again\n");
            // If standard error is gone there is nobody to tell.
            let _ = io::stderr().write_all(line.as_bytes());
            told.push(text);
        }
    }
}

/// The future of [`TcpListener::accept`].
#[must_use = "futures do nothing unless awaited"]
pub struct Accept<'a> {
    pub(super) listener: &'a TcpListener,
    pub(super) wait: Wait<'a, ListeningSocket>,
    /// Until it is over no connection is accepted.
    pub(super) pause: Option<Sleep>,
}

impl Future for Accept<'_> {
    type Output = io::Result<(TcpStream, SocketAddr)>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let setbacks = &this.listener.setbacks;
        loop {
            if let Some(pause) = &mut this.pause {
                if !this.listener.io.is_at_home() {
                    return Poll::Ready(Err(used_elsewhere()));
                }
                ready!(Pin::new(pause).poll(cx));
                this.pause = None;
            }
            let next = match ready!(this.wait.poll(cx, ListeningSocket::accept)) {
                Ok((socket, address)) => match Async::watch(socket) {
                    Ok(io) => {
                        setbacks.end();
                        return Poll::Ready(Ok((Stream::new(io), address)));
                    }
                    // This connection is lost. The next one would be so too.
                    Err(error) => {
                        setbacks.tell(&error);
                        Next::Pause
                    }
                },
                Err(error) => match setbacks.next(&error) {
                    Next::GiveUp => return Poll::Ready(Err(error)),
                    next => next,
                },
            };
            if next == Next::Pause {
                this.pause = Some(Sleep::lasting(PAUSE, this.wait.at));
            }
        }
    }
}

impl fmt::Debug for Accept<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Accept").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::network::{Connection, Listener, Watch};
    use crate::base::poller::Interest;
    use std::rc::Rc;

    #[test]
    fn an_error_of_one_connection_ends_no_listener() {
        for errno in OF_A_CONNECTION {
            assert_eq!(next_after(Some(*errno)), Next::Again, "{errno}");
        }
        for errno in [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM, Errno::NOSPC] {
            assert_eq!(next_after(Some(errno)), Next::Pause, "{errno}");
        }
        for errno in OF_THE_LISTENER {
            assert_eq!(next_after(Some(*errno)), Next::GiveUp, "{errno}");
        }
        // Whatever number a system may come up with.
        for raw in 1..200 {
            let errno = Errno::from_raw_os_error(raw);
            let is_listed = OF_THE_LISTENER.contains(&errno);
            assert_eq!(next_after(Some(errno)) == Next::GiveUp, is_listed, "{errno}");
        }
        assert_eq!(next_after(None), Next::GiveUp);
    }

    /// A listener whose calls fail as the script says; when it is at its end the last line counts.
    #[derive(Clone, Debug)]
    struct Scripted(Rc<(Cell<usize>, Vec<Errno>)>);

    impl Watch for Scripted {
        fn watch(&self, _: usize, _: Interest) {}
        fn unwatch(&self) {}
    }

    impl Listener for Scripted {
        fn accept(&self) -> io::Result<(Box<dyn Connection>, SocketAddr)> {
            let (calls, script) = &*self.0;
            let call = calls.replace(calls.get() + 1);
            Err(script[call.min(script.len() - 1)].into())
        }
        fn local_addr(&self) -> SocketAddr {
            "127.0.0.1:1".parse().unwrap()
        }
    }

    fn listener(script: &[Errno]) -> (TcpListener, Scripted) {
        let scripted = Scripted(Rc::new((Cell::new(0), script.to_vec())));
        let socket = ListeningSocket::Simulated(Box::new(scripted.clone()));
        (TcpListener::watch(socket).unwrap(), scripted)
    }

    #[test]
    fn a_listener_goes_on_until_it_is_itself_unusable() {
        crate::run(async {
            let mut script = OF_A_CONNECTION.to_vec();
            script.extend([Errno::MFILE, Errno::XFULL, Errno::PROTO, Errno::MFILE, Errno::BADF]);
            let (listener, scripted) = listener(&script);
            let error = listener.accept().await.unwrap_err();
            assert_eq!(Errno::from_io_error(&error), Some(Errno::BADF));
            assert_eq!(scripted.0.0.get(), script.len());
            // The shortage came twice.
            assert_eq!(listener.setbacks.told.borrow().len(), 2);
        });
    }

    #[test]
    fn an_error_that_never_ends_does_not_spin() {
        crate::run(async {
            let (listener, scripted) = listener(&[Errno::PERM]);
            let mut accept = listener.accept();
            for _ in 0..1000 {
                let polled = futures_lite::future::poll_once(&mut accept).await;
                assert!(polled.is_none());
                if accept.pause.is_some() {
                    break;
                }
                crate::yield_now().await;
            }
            assert_eq!(scripted.0.0.get(), PASSED_OVER as usize);
        });
    }

    #[test]
    fn a_pause_under_no_runtime_is_an_error() {
        let runtime = crate::Runtime::new().unwrap();
        let (listener, _) = runtime.block_on(async { listener(&[Errno::MFILE]) });
        let mut accept = listener.accept();
        runtime.block_on(async {
            assert!(futures_lite::future::poll_once(&mut accept).await.is_none());
        });
        let error = futures_lite::future::block_on(accept).unwrap_err();
        assert!(error.to_string().contains("another runtime"), "{error}");
    }
}
