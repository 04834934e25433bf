//! Where the loop sleeps: the one file that differs by operating system.
//!
//! - **Linux**: an epoll instance, and one system call a wait. The alarm is a timerfd, touched only
//!   when the earliest deadline changes, and exact to microseconds where a timeout of epoll's counts
//!   in milliseconds. The doorbell is an eventfd. Both are edge-triggered and never read: a new
//!   expiry, or a new ring, is a new edge.
//! - **elsewhere**: `polling`, which speaks kqueue and its relatives; its wait takes a timeout, and
//!   its `notify` is the doorbell. It could do Linux too, but there a wait through it costs five
//!   system calls (it sets its timer and re-arms its notifier around each one), and it asks for
//!   `EPOLLPRI` with every read: a peer that sends one urgent byte would make a level-triggered
//!   source ready for ever. This half still runs on Linux, for the tests, with
//!   `--cfg popleft_portable`.

pub(crate) use crate::world::{Report, Until};

/// Which directions of a source the system is asked to watch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interest {
    pub(crate) read: bool,
    pub(crate) write: bool,
}

impl Interest {
    fn is_none(self) -> bool {
        !self.read && !self.write
    }
}

/// How many reports one wait takes when the loop has nothing else to do.
const REPORTS_ASLEEP: usize = 1024;

/// How many it takes when tasks are ready. Level-triggered sources whose tasks have been woken
/// and have not had their turn are reported again at every look, so a look takes only about as
/// many as there were turns since the last one. Who is not reported comes first at the next look.
const REPORTS_AWAKE: usize = 128;

fn room_for_reports(until: Until) -> usize {
    match until {
        Until::Now => REPORTS_AWAKE,
        Until::Deadline(_) | Until::Forever => REPORTS_ASLEEP,
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
    use rustix::io::Errno;
    use rustix::time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create,
        timerfd_settime,
    };

    use super::{Interest, Report, Until, room_for_reports};

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
        few: RefCell<Vec<epoll::Event>>,
        many: RefCell<Vec<epoll::Event>>,
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
            let epoll = epoll::create(CreateFlags::CLOEXEC)?;
            let alarm = timerfd_create(
                TimerfdClockId::Monotonic,
                TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK,
            )?;
            let eventfd = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
            let each_edge = EventFlags::IN | EventFlags::ET;
            epoll::add(&epoll, &alarm, data(ALARM), each_edge)?;
            epoll::add(&epoll, &*eventfd, data(DOORBELL), each_edge)?;
            let list = |until| RefCell::new(Vec::with_capacity(room_for_reports(until)));
            Ok(Waiter {
                epoll,
                alarm,
                alarm_at: Cell::new(None),
                doorbell: Doorbell { eventfd },
                few: list(Until::Now),
                many: list(Until::Forever),
            })
        }

        pub(crate) fn doorbell(&self) -> Doorbell {
            self.doorbell.clone()
        }

        pub(crate) fn add(&self, fd: impl AsFd, key: usize, interest: Interest) -> io::Result<()> {
            Ok(epoll::add(&self.epoll, fd, data(key), flags(interest))?)
        }

        pub(crate) fn modify(
            &self,
            fd: impl AsFd,
            key: usize,
            interest: Interest,
        ) -> io::Result<()> {
            Ok(epoll::modify(&self.epoll, fd, data(key), flags(interest))?)
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
            let no_time = Timespec::default();
            let (timeout, list) = match until {
                Until::Now => (Some(&no_time), &self.few),
                Until::Forever => (None, &self.many),
                Until::Deadline(deadline) => match self.set_alarm(deadline, now)? {
                    Alarm::Set => (None, &self.many),
                    Alarm::Due => (Some(&no_time), &self.many),
                },
            };
            let mut events = list.borrow_mut();
            events.clear();
            match epoll::wait(&self.epoll, spare_capacity(&mut events), timeout) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
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
        fn set_alarm(&self, deadline: Instant, now: impl Fn() -> Instant) -> io::Result<Alarm> {
            if self.alarm_at.get() == Some(deadline) {
                return Ok(Alarm::Set);
            }
            let left = deadline.saturating_duration_since(now());
            if left.is_zero() {
                return Ok(Alarm::Due);
            }
            let left = left.saturating_add(SLACK);
            let once = Itimerspec {
                it_interval: Timespec::default(),
                it_value: Timespec {
                    tv_sec: left.as_secs() as i64,
                    tv_nsec: left.subsec_nanos().into(),
                },
            };
            timerfd_settime(&self.alarm, TimerfdTimerFlags::empty(), &once)?;
            self.alarm_at.set(Some(deadline));
            Ok(Alarm::Set)
        }
    }

    enum Alarm {
        Set,
        Due,
    }

    fn data(key: usize) -> EventData {
        EventData::new_u64(key as u64)
    }

    /// Level-triggered, so that nothing is missed. A source that nobody waits for is watched once
    /// for nothing: a hang-up cannot be masked and, level-triggered, would be reported for ever.
    fn flags(interest: Interest) -> EventFlags {
        let mut flags = EventFlags::empty();
        flags.set(EventFlags::IN, interest.read);
        flags.set(EventFlags::OUT, interest.write);
        flags.set(EventFlags::ONESHOT, interest.is_none());
        flags
    }

    /// A hang-up or an error is news for whoever waits, in whichever direction: the next read or
    /// write will tell what it is.
    fn report(key: usize, flags: EventFlags) -> Report {
        let either = EventFlags::HUP | EventFlags::ERR;
        Report {
            key,
            readable: flags.intersects(EventFlags::IN | either),
            writable: flags.intersects(EventFlags::OUT | either),
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

    use super::{Interest, Report, Until, room_for_reports};

    /// `polling`'s poller, which has an alarm and a doorbell of its own.
    pub(crate) struct Waiter {
        poller: Arc<Poller>,
        few: RefCell<Events>,
        many: RefCell<Events>,
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
            let list = |until| {
                let room = NonZeroUsize::new(room_for_reports(until));
                RefCell::new(room.map_or_else(Events::new, Events::with_capacity))
            };
            Ok(Waiter {
                poller: Arc::new(Poller::new()?),
                few: list(Until::Now),
                many: list(Until::Forever),
            })
        }

        pub(crate) fn doorbell(&self) -> Doorbell {
            Doorbell { poller: self.poller.clone() }
        }

        #[allow(unsafe_code)]
        pub(crate) fn add(&self, fd: impl AsFd, key: usize, interest: Interest) -> io::Result<()> {
            let fd = fd.as_fd().as_raw_fd();
            // SAFETY: the descriptor has to be deleted from the poller before it is closed.
            // `Reactor::deregister` does that, and a source calls it before it lets go of what it
            // owns.
            unsafe { self.poller.add_with_mode(fd, event(key, interest), mode(interest)) }
        }

        pub(crate) fn modify(
            &self,
            fd: impl AsFd,
            key: usize,
            interest: Interest,
        ) -> io::Result<()> {
            let event = event(key, interest);
            self.poller.modify_with_mode(fd, event, mode(interest))
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
            let (timeout, list) = match until {
                Until::Now => (Some(Duration::ZERO), &self.few),
                Until::Forever => (None, &self.many),
                Until::Deadline(deadline) => {
                    (Some(deadline.saturating_duration_since(now())), &self.many)
                }
            };
            let mut events = list.borrow_mut();
            events.clear();
            match self.poller.wait(&mut events, timeout) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            reports.extend(events.iter().map(|event| Report {
                key: event.key,
                readable: event.readable || event.is_interrupt(),
                writable: event.writable || event.is_interrupt(),
            }));
            Ok(())
        }
    }

    fn event(key: usize, interest: Interest) -> Event {
        Event::new(key, interest.read, interest.write)
    }

    /// Level-triggered, so that nothing is missed. A source that nobody waits for is watched once
    /// for nothing: where a hang-up cannot be masked it would be reported for ever.
    fn mode(interest: Interest) -> PollMode {
        match interest.is_none() {
            true => PollMode::Oneshot,
            false => PollMode::Level,
        }
    }
}

pub(crate) use system::{Doorbell, Waiter};
