//! Sockets whose operations are futures.
//!
//! Everything here is built on [`Async<T>`]: a non-blocking file descriptor that the loop watches,
//! and one rule: try the system call; if it would block, wait until the reactor reports readiness
//! and try again. In a simulated run TCP uses the simulated network instead, by the same rule.
//!
//! | file | contents |
//! |---|---|
//! | `async_io.rs` | `Async<T>` and the rule |
//! | `stream.rs` | reading and writing, for TCP and Unix sockets alike |
//! | `halves.rs` | the reading and the writing half of a stream |
//! | `tcp.rs` | `TcpListener`, and connecting |
//! | `accept.rs` | accepting |
//! | `setbacks.rs` | which errors end a listener and which do not |
//! | `socket.rs` | the socket inside: the system's, or a simulated one |
//! | `unix.rs` | `UnixStream` |
//! | `address.rs` | host names |
//!
//! A task that waits here shows up in reports and in the debugger with the line of its `await`.

mod accept;
mod address;
mod async_io;
mod halves;
mod setbacks;
mod socket;
mod stream;
mod tcp;
mod unix;

pub use accept::Accept;
pub(crate) use address::resolve;
pub use address::{HostOrAddrs, ToSocketAddrs, lookup_host};
pub use async_io::{AsSource, Async, Operation};
pub use halves::{OwnedReadHalf, OwnedWriteHalf, ReadHalf, ReuniteError, WriteHalf};
pub(crate) use setbacks::{PAUSE, Setbacks};
pub use stream::{ReadExact, Socket, Stream, WriteAll};
pub use tcp::{ListenOptions, TcpListener, TcpStream};
pub use unix::UnixStream;
