//! Sockets whose operations are futures.
//!
//! Everything here is [`Async<T>`]: a non-blocking file descriptor that the loop watches, and one
//! rule: try the system call; if it would block, wait for the reactor's report and try again. In a
//! simulated run TCP goes over the simulated network instead, by the same rule.
//!
//! | file | what it holds |
//! |---|---|
//! | `async_io.rs` | `Async<T>` and the rule |
//! | `stream.rs` | reading and writing, the same for TCP and Unix sockets; the two halves |
//! | `tcp.rs` | `TcpListener`, and connecting |
//! | `accept.rs` | accepting |
//! | `setbacks.rs` | which errors a listener outlives |
//! | `socket.rs` | what is inside these: the system's socket, or a simulated one |
//! | `unix.rs` | `UnixStream` |
//! | `address.rs` | host names |
//!
//! A task that waits here shows up in reports and in the debugger with the line of its `await`.

mod accept;
mod address;
mod async_io;
mod setbacks;
mod socket;
mod stream;
mod tcp;
mod unix;

pub use accept::Accept;
pub(crate) use address::resolve;
pub use address::{Target, ToSocketAddrs, lookup_host};
pub use async_io::{Async, Operation};
pub(crate) use setbacks::{PAUSE, Setbacks};
pub use stream::{OwnedReadHalf, OwnedWriteHalf, ReadExact, ReadHalf, Stream, WriteAll, WriteHalf};
pub use tcp::{ListenOptions, TcpListener, TcpStream};
pub use unix::UnixStream;
