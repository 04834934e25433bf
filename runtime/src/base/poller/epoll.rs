//! Linux: an epoll instance, a timerfd and an eventfd.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{EventfdFlags, Timespec, eventfd};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime,
};

use super::{Interest, REPORTS, Report, Until, after_a_failed_wait, with_context};

/// Keys from here on are not sources.
const FIRST_RESERVED_KEY: usize = usize::MAX - 2;
const TIMER: usize = FIRST_RESERVED_KEY;
const NOTIFIER: usize = FIRST_RESERVED_KEY + 1;

/// How much later than requested the timer expires, so that deadlines close to each other need one
/// sleep instead of one each. The kernel gives the sleeps of threads the same slack.
const SLACK: Duration = Duration::from_micros(50);

/// The epoll instance, the timer and the notifier.
pub(crate) struct Poller {
    epoll: OwnedFd,
    timer: OwnedFd,
    /// When the timer expires; `None` when it is not set, or has expired.
    timer_at: Cell<Option<Instant>>,
    notifier: Notifier,
    events: RefCell<Vec<epoll::Event>>,
}

/// Ends the loop's sleep from another thread.
#[derive(Clone)]
pub(crate) struct Notifier {
    eventfd: Arc<OwnedFd>,
}

impl Notifier {
    /// Ends the loop's current sleep, or the next one.
    pub(crate) fn notify(&self) {
        // It fails only if the counter is at 2^64 - 2, and then an edge has been reported.
        let _ = rustix::io::write(&*self.eventfd, &1u64.to_ne_bytes());
    }
}

impl Poller {
    pub(crate) fn new() -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)
            .map_err(with_context("cannot make the epoll instance"))?;
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)
            .map_err(with_context("cannot make the timerfd of the loop"))?;
        let eventfd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(with_context("cannot make the eventfd of the loop"))?;
        let eventfd = Arc::new(eventfd);
        let each_edge = EventFlags::IN | EventFlags::ET;
        epoll::add(&epoll, &timer, data(TIMER), each_edge)
            .map_err(with_context("cannot add the timerfd to epoll"))?;
        epoll::add(&epoll, &*eventfd, data(NOTIFIER), each_edge)
            .map_err(with_context("cannot add the eventfd to epoll"))?;
        Ok(Poller {
            epoll,
            timer,
            timer_at: Cell::new(None),
            notifier: Notifier { eventfd },
            events: RefCell::new(Vec::with_capacity(REPORTS)),
        })
    }

    pub(crate) fn notifier(&self) -> Notifier {
        self.notifier.clone()
    }

    /// Watches `fd`: readiness is reported under `key`, each edge once. What is ready already is
    /// reported, too.
    pub(crate) fn add(&self, fd: impl AsFd, key: usize, interest: Interest) -> io::Result<()> {
        epoll::add(&self.epoll, fd, data(key), flags(interest))
            .map_err(with_context("cannot watch the descriptor"))
    }

    pub(crate) fn modify(&self, fd: impl AsFd, key: usize, interest: Interest) -> io::Result<()> {
        epoll::modify(&self.epoll, fd, data(key), flags(interest))
            .map_err(with_context("cannot watch the descriptor for writing"))
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
            Until::Deadline(deadline) => match self.set_timer(deadline, now) {
                Timer::Set => None,
                Timer::Due => Some(Timespec::default()),
                Timer::Refused(left) => Some(left),
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
                TIMER => self.timer_at.set(None),
                NOTIFIER => {}
                key => reports.push(report(key, event.flags)),
            }
        }
        Ok(())
    }

    /// Sets the timer to `deadline`, unless it is set to that already.
    fn set_timer(&self, deadline: Instant, now: impl Fn() -> Instant) -> Timer {
        if self.timer_at.get() == Some(deadline) {
            return Timer::Set;
        }
        let left = deadline.saturating_duration_since(now());
        if left.is_zero() {
            return Timer::Due;
        }
        let left = left.saturating_add(SLACK);
        let left = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
        let once = Itimerspec { it_interval: Timespec::default(), it_value: left };
        match timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once) {
            Ok(_) => {
                self.timer_at.set(Some(deadline));
                Timer::Set
            }
            Err(_) => Timer::Refused(left),
        }
    }
}

enum Timer {
    Set,
    Due,
    /// The system refused. epoll's own timeout can replace it, if only in whole milliseconds.
    Refused(Timespec),
}

fn data(key: usize) -> EventData {
    EventData::new_u64(key as u64)
}

/// Edge-triggered. The end of the stream and urgent data have flags of their own, so that they can
/// be distinguished from bytes; a hang-up or an error is always reported.
fn flags(interest: Interest) -> EventFlags {
    let mut flags = EventFlags::IN | EventFlags::RDHUP | EventFlags::PRI | EventFlags::ET;
    flags.set(EventFlags::OUT, interest == Interest::ReadWrite);
    flags
}

/// A hang-up or an error makes a source ready in both directions: the next read or write returns
/// what it is.
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
    fn a_deadline_is_kept_when_the_timer_cannot_be_set() {
        let poller = Poller { timer: useless(), ..Poller::new().unwrap() };
        let start = crate::base::world::World::Real.now();
        let now = || crate::base::world::World::Real.now();
        let deadline = start + Duration::from_millis(20);
        let mut reports = vec![];
        while now() < deadline {
            poller.wait(Until::Deadline(deadline), now, &mut reports).unwrap();
        }
        assert!(reports.is_empty());
        assert_eq!(poller.timer_at.get(), None);
    }

    #[test]
    fn a_wait_on_what_is_no_epoll_instance_says_so() {
        let poller = Poller { epoll: useless(), ..Poller::new().unwrap() };
        let now = || crate::base::world::World::Real.now();
        let error = poller.wait(Until::Now, now, &mut vec![]).unwrap_err();
        assert!(error.to_string().starts_with("cannot wait for events: "), "{error}");
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }
}
