//! Accepting connections.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use super::async_io::{Async, Wait, wrong_runtime};
use super::setbacks::{Next, PAUSE};
use super::socket::ListeningSocket;
use super::stream::Stream;
use super::tcp::{TcpListener, TcpStream};
use crate::reactor::source::Direction;
use crate::time::Sleep;

impl TcpListener {
    /// Waits for a connection and accepts it.
    ///
    /// Errors that do not concern the listener itself do not end it:
    ///
    /// - Errors of the connection that would have been accepted (it was closed while it waited, a
    ///   firewall forbids it, its network is down: all that accept(2) lists) are skipped, and the
    ///   next one is accepted at once.
    /// - After any other error, for example when the process or the system has no file descriptor
    ///   or no memory left, it tries again after 50 ms, and prints a warning to standard error, once
    ///   for each kind of error. Connections wait meanwhile. Many skipped connections in a row count
    ///   as such an error too.
    /// - A connection that was accepted but cannot be watched is closed, and treated as such an
    ///   error.
    ///
    /// Dropping the future loses no connection.
    ///
    /// # Errors
    ///
    /// When the listener itself is unusable: it does not listen (any more), its descriptor has been
    /// closed, or it belongs to another runtime.
    #[track_caller]
    pub fn accept(&self) -> Accept<'_> {
        self.accept_at(Location::caller())
    }

    pub(crate) fn accept_at(&self, at: &'static Location<'static>) -> Accept<'_> {
        Accept { listener: self, wait: self.io.wait(Direction::Read, at), pause: None }
    }
}

/// The future of [`TcpListener::accept`].
///
/// Dropping it stops waiting and loses no connection.
#[must_use = "futures do nothing unless awaited"]
pub struct Accept<'a> {
    pub(super) listener: &'a TcpListener,
    pub(super) wait: Wait<'a, ListeningSocket>,
    /// While this lasts no connection is accepted.
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
                    return Poll::Ready(Err(wrong_runtime()));
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
                    // This connection is lost, and the next one would be too.
                    Err(error) => {
                        setbacks.warn_once(&error);
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
    use crate::net::setbacks::{OF_A_CONNECTION, PASSED_OVER};
    use rustix::io::Errno;
    use std::cell::Cell;
    use std::rc::Rc;

    /// A listener whose calls fail with the errors of a script; the last one is repeated.
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
            assert_eq!(listener.setbacks.warned.borrow().len(), 2);
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
