//! Which public types may be sent to other threads, and which stay on the thread of their runtime.

use std::cell::Cell;
use std::fmt::Debug;
use std::marker::PhantomData;
use std::rc::Rc;

use popleft::event::{Cause, End, Event, Place, Why};
use popleft::task::Id;
use popleft::{Handle, JoinError, JoinHandle, RemoteHandle, RunError, Runtime};

const _: fn() = || {
    fn send_and_sync<T: Send + Sync>() {}
    send_and_sync::<Handle>();
    send_and_sync::<RemoteHandle<u8>>();
    send_and_sync::<JoinError>();
    send_and_sync::<RunError>();
    send_and_sync::<Id>();
    send_and_sync::<Place>();
    send_and_sync::<Why>();
    send_and_sync::<Event>();
    send_and_sync::<Cause>();
    send_and_sync::<End>();

    fn static_error<T: std::error::Error + Send + Sync + 'static>() {}
    static_error::<JoinError>();
    static_error::<RunError>();

    fn debug<T: Debug>() {}
    debug::<Runtime>();
    debug::<Handle>();
    debug::<JoinHandle<u8>>();
    debug::<RemoteHandle<u8>>();
};

/// Asks whether a type is `Send` or `Sync`: the constants of the type itself exist only if it is, and
/// hide those of the trait.
struct Probe<T>(PhantomData<T>);

trait Otherwise {
    const IS_SEND: bool = false;
    const IS_SYNC: bool = false;
}

impl<T> Otherwise for Probe<T> {}

#[allow(dead_code)]
impl<T: Send> Probe<T> {
    const IS_SEND: bool = true;
}

#[allow(dead_code)]
impl<T: Sync> Probe<T> {
    const IS_SYNC: bool = true;
}

macro_rules! stays_on_its_thread {
    ($($type:ty),+ $(,)?) => {$(
        const { assert!(!Probe::<$type>::IS_SEND, concat!(stringify!($type), " is Send")) };
        const { assert!(!Probe::<$type>::IS_SYNC, concat!(stringify!($type), " is Sync")) };
    )+};
}

#[test]
fn what_belongs_to_a_runtime_stays_on_its_thread() {
    stays_on_its_thread!(
        Runtime,
        JoinHandle<u8>,
        popleft::time::Sleep,
        popleft::time::Interval,
        popleft::net::Async<std::net::TcpStream>,
        popleft::net::TcpListener,
        popleft::net::TcpStream,
    );
}

#[test]
fn the_probe_distinguishes() {
    const { assert!(Probe::<u8>::IS_SEND && Probe::<u8>::IS_SYNC) };
    const { assert!(Probe::<Cell<u8>>::IS_SEND && !Probe::<Cell<u8>>::IS_SYNC) };
    const { assert!(!Probe::<Rc<u8>>::IS_SEND && !Probe::<Rc<u8>>::IS_SYNC) };
}

#[test]
fn a_remote_handle_is_only_sent_with_a_result_that_may_be() {
    const { assert!(Probe::<RemoteHandle<Cell<u8>>>::IS_SEND) };
    const { assert!(!Probe::<RemoteHandle<Rc<u8>>>::IS_SEND) };
}
