//! Laws that each kind of server keeps.

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
        laws!(@server cores_inline CORES_INLINE $($law)*);
        laws!(@server cores CORES $($law)*);
    };
    (@server $name:ident $kind:ident $($law:ident)*) => {
        mod $name {
            $(#[test] fn $law() { super::$law(crate::server_process::$kind); })*
        }
    };
}
