//! Every server against every rule, over real sockets.
//!
//! A law is a function of the kind of server. [`laws!`] makes a test of it for each kind, so that
//! `cargo test --test servers gil` puts one server to all of them.

mod server_process;

/// A test for each law and each server: `module::server::law`.
macro_rules! laws {
    ($($law:ident),* $(,)?) => {
        laws!(@server sequential SEQUENTIAL $($law)*);
        laws!(@server threads THREADS $($law)*);
        laws!(@server gil GIL $($law)*);
        laws!(@server processes PROCESSES $($law)*);
        laws!(@server generators_inline GENERATORS_INLINE $($law)*);
        laws!(@server generators GENERATORS $($law)*);
        laws!(@server tasks_inline TASKS_INLINE $($law)*);
        laws!(@server tasks TASKS $($law)*);
    };
    (@server $name:ident $kind:ident $($law:ident)*) => {
        mod $name {
            $(#[test] fn $law() { super::$law(crate::server_process::$kind); })*
        }
    };
}

#[path = "servers/answers.rs"]
mod answers;
#[path = "servers/clients.rs"]
mod clients;
#[path = "servers/ends.rs"]
mod ends;
#[path = "servers/python.rs"]
mod python;
#[cfg(target_os = "linux")]
#[path = "servers/workers.rs"]
mod workers;
