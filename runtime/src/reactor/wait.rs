//! Where the loop sleeps: the one file that differs by operating system.
//!
//! - **Linux**: an epoll instance, and one system call a wait. The alarm is a timerfd, touched only
//!   when the earliest deadline changes, and exact to microseconds where a timeout of epoll's counts
//!   in milliseconds. The doorbell is an eventfd. Neither is ever read: everything here is
//!   edge-triggered, and a new expiry, or a new ring, is a new edge.
//! - **elsewhere**: `polling`, which speaks kqueue and its relatives; its wait takes a timeout, and
//!   its `notify` is the doorbell. It could do Linux too, but there a wait through it costs five
//!   system calls (it sets its timer and re-arms its notifier around each one), and it does not
//!   tell the end of the other side's bytes from bytes. This half still runs on Linux, for the
//!   tests, with `--cfg popleft_portable`.

use std::io;
use std::thread;
use std::time::Duration;

use rustix::io::Errno;

pub(crate) use crate::world::{Report, Until};

/// What of a source is news.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// What arrives: bytes, connections, the end.
    Arrivals,
    /// That, and room for bytes to be written.
    ArrivalsAndRoom,
}

/// How many reports one wait takes. Who is not among them comes first at the next.
const REPORTS: usize = 1024;

/// How long the loop pauses after a wait that the system could not do now.
const PAUSE: Duration = Duration::from_millis(10);

/// A wait has failed. What the system lacks it may have again: then the loop goes on, and asks once
/// more.
fn after_a_failed_wait(error: io::Error) -> io::Result<()> {
    match Errno::from_io_error(&error) {
        Some(Errno::INTR) => Ok(()),
        None | Some(Errno::BADF | Errno::INVAL | Errno::FAULT) => {
            Err(saying("cannot wait for events")(error))
        }
        Some(_) => {
            thread::sleep(PAUSE);
            Ok(())
        }
    }
}

/// Has an error say what was being done. It is of the same kind as before.
pub(super) fn saying<E: Into<io::Error>>(doing: &'static str) -> impl Fn(E) -> io::Error {
    move |error| {
        let error = error.into();
        io::Error::new(error.kind(), format!("{doing}: {error}"))
    }
}

#[cfg(all(target_os = "linux", not(popleft_portable)))]
mod system {
    use std::cell::{Cell, RefCell};
    use std::io;
    use std::os::fd::{AsFd, OwnedFd};
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use rustix::buffer::spare_capacity;
    use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
    use rustix::event::{EventfdFlags, Timespec, eventfd};
    use rustix::time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create,
        timerfd_settime,
    };

    use super::{Interest, REPORTS, Report, Until, after_a_failed_wait, saying};

    /// Keys from here on are not sources.
    const FIRST_RESERVED_KEY: usize = usize::MAX - 2;
    const ALARM: usize = FIRST_RESERVED_KEY;
    const DOORBELL: usize = FIRST_RESERVED_KEY + 1;

    /// How much later than asked the alarm goes off, so that deadlines which lie close together
    /// need one sleep and not one each. The kernel gives the sleeps of threads the same slack.
    const SLACK: Duration = Duration::from_micros(50);

    /// The epoll instance, the alarm and the doorbell.
    pub(crate) struct Waiter {
        epoll: OwnedFd,
        alarm: OwnedFd,
        /// For when the alarm is set; `None` when it is off or has gone off.
        alarm_at: Cell<Option<Instant>>,
        doorbell: Doorbell,
        events: RefCell<Vec<epoll::Event>>,
    }

    /// What another thread rings to end the loop's sleep.
    #[derive(Clone)]
    pub(crate) struct Doorbell {
        eventfd: Arc<OwnedFd>,
    }

    impl Doorbell {
        /// Ends the loop's present sleep, or the next one.
        pub(crate) fn ring(&self) {
            // It fails only when 2^64 - 2 rings have not been heard, and then there is an edge.
            let _ = rustix::io::write(&*self.eventfd, &1u64.to_ne_bytes());
        }
    }

    impl Waiter {
        pub(crate) fn new() -> io::Result<Self> {
            let epoll = epoll::create(CreateFlags::CLOEXEC)
                .map_err(saying("cannot make the epoll instance"))?;
            let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
            let alarm = timerfd_create(TimerfdClockId::Monotonic, flags)
                .map_err(saying("cannot make the timerfd of the loop"))?;
            let eventfd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
                .map_err(saying("cannot make the eventfd of the loop"))?;
            let eventfd = Arc::new(eventfd);
            let each_edge = EventFlags::IN | EventFlags::ET;
            epoll::add(&epoll, &alarm, data(ALARM), each_edge)
                .map_err(saying("cannot have epoll watch the timerfd"))?;
            epoll::add(&epoll, &*eventfd, data(DOORBELL), each_edge)
                .map_err(saying("cannot have epoll watch the eventfd"))?;
            Ok(Waiter {
                epoll,
                alarm,
                alarm_at: Cell::new(None),
                doorbell: Doorbell { eventfd },
                events: RefCell::new(Vec::with_capacity(REPORTS)),
            })
        }

        pub(crate) fn doorbell(&self) -> Doorbell {
            self.doorbell.clone()
        }

        /// Has the news of `fd` reported under `key`, each once; what is true already is news too.
        pub(crate) fn add(&self, fd: impl AsFd, key: usize, interest: Interest) -> io::Result<()> {
            epoll::add(&self.epoll, fd, data(key), flags(interest))
                .map_err(saying("cannot watch the descriptor"))
        }

        pub(crate) fn modify(
            &self,
            fd: impl AsFd,
            key: usize,
            interest: Interest,
        ) -> io::Result<()> {
            epoll::modify(&self.epoll, fd, data(key), flags(interest))
                .map_err(saying("cannot watch the descriptor for room to write"))
        }

        pub(crate) fn delete(&self, fd: impl AsFd) -> io::Result<()> {
            Ok(epoll::delete(&self.epoll, fd)?)
        }

        /// Sleeps as long as it may, and adds what is ready to `reports`.
        pub(crate) fn wait(
            &self,
            until: Until,
            now: impl Fn() -> Instant,
            reports: &mut Vec<Report>,
        ) -> io::Result<()> {
            let timeout = match until {
                Until::Now => Some(Timespec::default()),
                Until::Forever => None,
                Until::Deadline(deadline) => match self.set_alarm(deadline, now) {
                    Alarm::Set => None,
                    Alarm::Due => Some(Timespec::default()),
                    Alarm::Refused(left) => Some(left),
                },
            };
            let mut events = self.events.borrow_mut();
            events.clear();
            let room = spare_capacity(&mut events);
            if let Err(error) = epoll::wait(&self.epoll, room, timeout.as_ref()) {
                after_a_failed_wait(error.into())?;
            }
            for event in events.iter() {
                match event.data.u64() as usize {
                    ALARM => self.alarm_at.set(None),
                    DOORBELL => {}
                    key => reports.push(report(key, event.flags)),
                }
            }
            Ok(())
        }

        /// Sets the alarm for `deadline`, unless it stands there already.
        fn set_alarm(&self, deadline: Instant, now: impl Fn() -> Instant) -> Alarm {
            if self.alarm_at.get() == Some(deadline) {
                return Alarm::Set;
            }
            let left = deadline.saturating_duration_since(now());
            if left.is_zero() {
                return Alarm::Due;
            }
            let left = left.saturating_add(SLACK);
            let left =
                Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
            let once = Itimerspec { it_interval: Timespec::default(), it_value: left };
            match timerfd_settime(&self.alarm, TimerfdTimerFlags::empty(), &once) {
                Ok(_) => {
                    self.alarm_at.set(Some(deadline));
                    Alarm::Set
                }
                Err(_) => Alarm::Refused(left),
            }
        }
    }

    enum Alarm {
        Set,
        Due,
        /// The system would not set it. epoll can count this time too, in whole milliseconds.
        Refused(Timespec),
    }

    fn data(key: usize) -> EventData {
        EventData::new_u64(key as u64)
    }

    /// Edge-triggered. The end of the other side's bytes and urgent data are asked for by name, so
    /// that they can be told from bytes; a hang-up or an error is reported unasked.
    fn flags(interest: Interest) -> EventFlags {
        let mut flags = EventFlags::IN | EventFlags::RDHUP | EventFlags::PRI | EventFlags::ET;
        flags.set(EventFlags::OUT, interest == Interest::ArrivalsAndRoom);
        flags
    }

    /// A hang-up or an error is news for whoever waits, in whichever direction: the next read or
    /// write will tell what it is.
    fn report(key: usize, flags: EventFlags) -> Report {
        let either = EventFlags::HUP | EventFlags::ERR;
        let besides_bytes = either | EventFlags::RDHUP | EventFlags::PRI;
        Report {
            key,
            readable: flags.intersects(EventFlags::IN | besides_bytes),
            writable: flags.intersects(EventFlags::OUT | either),
            drain: flags.intersects(besides_bytes),
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        /// A descriptor that is neither an epoll instance nor a timer.
        fn useless() -> OwnedFd {
            eventfd(0, EventfdFlags::CLOEXEC).unwrap()
        }

        #[test]
        fn a_deadline_is_kept_when_the_alarm_cannot_be_set() {
            let waiter = Waiter { alarm: useless(), ..Waiter::new().unwrap() };
            let start = crate::world::World::Real.now();
            let now = || crate::world::World::Real.now();
            let deadline = start + Duration::from_millis(20);
            let mut reports = vec![];
            while now() < deadline {
                waiter.wait(Until::Deadline(deadline), now, &mut reports).unwrap();
            }
            assert!(reports.is_empty());
            assert_eq!(waiter.alarm_at.get(), None);
        }

        #[test]
        fn a_wait_on_what_is_no_epoll_instance_says_so() {
            let waiter = Waiter { epoll: useless(), ..Waiter::new().unwrap() };
            let now = || crate::world::World::Real.now();
            let error = waiter.wait(Until::Now, now, &mut vec![]).unwrap_err();
            assert!(error.to_string().starts_with("cannot wait for events: "), "{error}");
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        }
    }
}

#[cfg(not(all(target_os = "linux", not(popleft_portable))))]
mod system {
    use std::cell::RefCell;
    use std::io;
    use std::num::NonZeroUsize;
    use std::os::fd::{AsFd, AsRawFd};
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use polling::{Event, Events, PollMode, Poller};

    use super::{Interest, REPORTS, Report, Until, after_a_failed_wait, saying};

    /// `polling`'s poller, which has an alarm and a doorbell of its own.
    pub(crate) struct Waiter {
        poller: Arc<Poller>,
        events: RefCell<Events>,
    }

    /// What another thread rings to end the loop's sleep.
    #[derive(Clone)]
    pub(crate) struct Doorbell {
        poller: Arc<Poller>,
    }

    impl Doorbell {
        /// Ends the loop's present sleep, or the next one.
        pub(crate) fn ring(&self) {
            // It fails only when the poller is broken, and then so does the next wait, loudly.
            let _ = self.poller.notify();
        }
    }

    impl Waiter {
        pub(crate) fn new() -> io::Result<Self> {
            let room = NonZeroUsize::new(REPORTS);
            let events = room.map_or_else(Events::new, Events::with_capacity);
            let poller = Poller::new().map_err(saying("cannot make the poller of the loop"))?;
            Ok(Waiter { poller: Arc::new(poller), events: RefCell::new(events) })
        }

        pub(crate) fn doorbell(&self) -> Doorbell {
            Doorbell { poller: self.poller.clone() }
        }

        #[allow(unsafe_code)]
        pub(crate) fn add(&self, fd: impl AsFd, key: usize, interest: Interest) -> io::Result<()> {
            let fd = fd.as_fd().as_raw_fd();
            // SAFETY: the descriptor has to be deleted from the poller before it is closed.
            // `Reactor::deregister` does that, and an `Async` calls it before it lets go of what
            // it owns. It can do so only if what it owns is an ordinary owner: one that closes its
            // descriptor while it lives, or whose `as_fd` comes to name another one, breaks the
            // rule. The poller then keeps a number that is closed or somebody else's. No memory
            // depends on that: it is a number in the kernel's list, the kernel takes it out when
            // the file is closed, and until then its reports carry a key that no source has.
            unsafe { self.poller.add_with_mode(fd, event(key, interest), PollMode::Edge) }
                .map_err(saying("cannot watch the descriptor"))
        }

        pub(crate) fn modify(
            &self,
            fd: impl AsFd,
            key: usize,
            interest: Interest,
        ) -> io::Result<()> {
            self.poller
                .modify_with_mode(fd, event(key, interest), PollMode::Edge)
                .map_err(saying("cannot watch the descriptor for room to write"))
        }

        pub(crate) fn delete(&self, fd: impl AsFd) -> io::Result<()> {
            self.poller.delete(fd)
        }

        /// Sleeps as long as it may, and adds what is ready to `reports`.
        pub(crate) fn wait(
            &self,
            until: Until,
            now: impl Fn() -> Instant,
            reports: &mut Vec<Report>,
        ) -> io::Result<()> {
            let timeout = match until {
                Until::Now => Some(Duration::ZERO),
                Until::Forever => None,
                Until::Deadline(deadline) => Some(deadline.saturating_duration_since(now())),
            };
            let mut events = self.events.borrow_mut();
            events.clear();
            if let Err(error) = self.poller.wait(&mut events, timeout) {
                after_a_failed_wait(error)?;
            }
            reports.extend(events.iter().map(|event| Report {
                key: event.key,
                readable: event.readable || event.is_interrupt(),
                writable: event.writable || event.is_interrupt(),
                // It does not tell whether the end has come with the bytes.
                drain: true,
            }));
            Ok(())
        }
    }

    fn event(key: usize, interest: Interest) -> Event {
        Event::new(key, true, interest == Interest::ArrivalsAndRoom)
    }
}

pub(crate) use system::{Doorbell, Waiter};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_descriptor_that_is_no_good_ends_the_loop() {
        for errno in [Errno::INTR, Errno::NOMEM, Errno::AGAIN, Errno::NOBUFS] {
            assert!(after_a_failed_wait(errno.into()).is_ok(), "{errno}");
        }
        for errno in [Errno::BADF, Errno::INVAL, Errno::FAULT] {
            let error = after_a_failed_wait(errno.into()).unwrap_err();
            assert!(error.to_string().starts_with("cannot wait for events: "), "{error}");
        }
    }
}
