//! Generator-like coroutines on stable Rust.
//!
//! Rust compiles every `async` block into a state machine that runs until an `await` that is not
//! ready, gives control back, and later goes on behind that `await`. That is all a generator
//! needs. Nothing is woken here: the caller *is* the scheduler. [`Generator::resume`] polls
//! the block once; [`Yielder::yield_`] leaves a value in a cell that both sides hold and returns
//! `Pending`; `resume` finds the value there and hands it out.
//!
//! This module does not depend on the loop: a generator runs under any executor, or under none.
//!
//! ```
//! use popleft::generator::Generator;
//! use std::collections::VecDeque;
//!
//! fn countdown(n: u32) -> Generator<u32> {
//!     Generator::new(move |y| async move {
//!         for i in (1..=n).rev() {
//!             y.yield_(i).await;
//!         }
//!     })
//! }
//!
//! let mut tasks = VecDeque::from([countdown(3), countdown(1), countdown(2)]);
//! let mut seen = vec![];
//! while let Some(mut task) = tasks.pop_front() {
//!     if let Some(value) = task.next() {
//!         seen.push(value);
//!         tasks.push_back(task);
//!     }
//! }
//! assert_eq!(seen, [3, 1, 2, 2, 1, 1]);
//! ```

use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::iter::FusedIterator;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// A function that can stop in the middle, yield a value, and continue later with an input.
///
/// `Out` is what it yields, `In` what each [`resume`](Generator::resume) sends in (`()` by default),
/// `Ret` what it returns at its end. Creating one runs nothing: the body starts at the first
/// `resume`, as in Python. Dropping one drops everything that the body holds at the `yield_` where
/// it is suspended.
///
/// ```
/// use popleft::generator::{Generator, Resumed};
///
/// let mut average: Generator<f64, f64> = Generator::new(|y| async move {
///     let mut sum = y.first_input().unwrap();
///     for count in 1.. {
///         sum += y.yield_(sum / f64::from(count)).await;
///     }
/// });
/// assert_eq!(average.resume(1.0), Resumed::Yielded(1.0));
/// assert_eq!(average.resume(2.0), Resumed::Yielded(1.5));
/// assert_eq!(average.resume(6.0), Resumed::Yielded(3.0));
/// ```
#[must_use = "a generator does nothing until it is resumed"]
pub struct Generator<Out, In = (), Ret = ()> {
    /// The rest of the body; `None` once it has returned or panicked.
    body: Option<Pin<Box<dyn Future<Output = Ret>>>>,
    exchange: Rc<Exchange<Out, In>>,
}

/// What [`Generator::resume`] returns: a value that the body yielded, or its return value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Resumed<Out, Ret> {
    /// The body is suspended at a `yield_`, with this value.
    Yielded(Out),
    /// The body has ended and returned this value.
    Complete(Ret),
}

/// The body's side of a generator, with which it yields values.
///
/// It is passed to the closure of [`Generator::new`].
pub struct Yielder<Out, In = ()> {
    exchange: Rc<Exchange<Out, In>>,
}

/// The cell between the two sides: one value on its way out, one on its way in.
struct Exchange<Out, In> {
    outgoing: Cell<Option<Out>>,
    incoming: Cell<Option<In>>,
    /// Whether `resume` is on the stack; a `yield_` polled at any other time is a mistake.
    resuming: Cell<bool>,
    /// How often the body has been resumed.
    resumes: Cell<u64>,
}

impl<Out: 'static, In: 'static, Ret: 'static> Generator<Out, In, Ret> {
    /// Makes a generator of a closure that takes a [`Yielder`] and returns an `async` block.
    ///
    /// Neither the closure nor the block runs before the first [`resume`](Generator::resume).
    pub fn new<Body, Fut>(body: Body) -> Self
    where
        Body: FnOnce(Yielder<Out, In>) -> Fut + 'static,
        Fut: Future<Output = Ret> + 'static,
    {
        let exchange = Rc::new(Exchange {
            outgoing: Cell::new(None),
            incoming: Cell::new(None),
            resuming: Cell::new(false),
            resumes: Cell::new(0),
        });
        let yielder = Yielder { exchange: exchange.clone() };
        Generator { body: Some(Box::pin(async move { body(yielder).await })), exchange }
    }
}

impl<Out, In, Ret> Generator<Out, In, Ret> {
    /// Runs the body to its next `yield_`, or to its end.
    ///
    /// `input` becomes the value of the `yield_` at which the body is suspended. At the first
    /// `resume` there is none yet: the body can take the first input with
    /// [`Yielder::first_input`]; otherwise it is dropped at the first `yield_`.
    ///
    /// # Panics
    ///
    /// - When the body has already returned or panicked.
    /// - When the body awaits something other than `yield_`: there is no loop here that could wake
    ///   it. The generator is finished then.
    /// - When the body panics, with its panic.
    #[track_caller]
    pub fn resume(&mut self, input: In) -> Resumed<Out, Ret> {
        let Some(mut body) = self.body.take() else {
            panic!("a generator was resumed after its end");
        };
        self.exchange.incoming.set(Some(input));
        self.exchange.resumes.set(self.exchange.resumes.get() + 1);
        let polled = {
            let _resuming = Resuming::start(&self.exchange.resuming);
            body.as_mut().poll(&mut Context::from_waker(Waker::noop()))
        };
        match (polled, self.exchange.outgoing.take()) {
            (Poll::Ready(value), _) => Resumed::Complete(value),
            (Poll::Pending, Some(value)) => {
                self.body = Some(body);
                Resumed::Yielded(value)
            }
            (Poll::Pending, None) => panic!(
                "a generator awaited something other than `yield_`: \
                 nobody would wake it here; spawn a task for that"
            ),
        }
    }

    /// Returns whether the body has returned or panicked, so that resuming it would panic.
    pub fn is_finished(&self) -> bool {
        self.body.is_none()
    }
}

/// A generator that takes no input is an iterator over the values that it yields. Its return value
/// is dropped; `next` keeps returning `None` after the end.
impl<Out, Ret> Iterator for Generator<Out, (), Ret> {
    type Item = Out;

    #[track_caller]
    fn next(&mut self) -> Option<Out> {
        if self.is_finished() {
            return None;
        }
        match self.resume(()) {
            Resumed::Yielded(value) => Some(value),
            Resumed::Complete(_) => None,
        }
    }
}

impl<Out, Ret> FusedIterator for Generator<Out, (), Ret> {}

impl<Out, In, Ret> fmt::Debug for Generator<Out, In, Ret> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Generator").field("finished", &self.is_finished()).finish()
    }
}

impl<Out, In> Yielder<Out, In> {
    /// Yields `value` to the caller of [`resume`](Generator::resume), suspends the body, and returns
    /// the input of the next `resume`.
    ///
    /// The future is ready once the generator is resumed. If it is dropped before the generator is
    /// suspended, as by a `select` with another branch that is ready, nothing is yielded, and the
    /// value is dropped with it.
    ///
    /// # Panics
    ///
    /// Polling the future panics outside the body of its own generator, and while another `yield_`
    /// of the same body is being awaited.
    pub fn yield_(&self, value: Out) -> Yield<'_, Out, In> {
        Yield { exchange: &self.exchange, value: Some(value), handed_out: 0 }
    }

    /// Takes the input of the `resume` that started the body, which no `yield_` returns.
    ///
    /// Returns `None` if it has been taken, and once the body has yielded.
    pub fn first_input(&self) -> Option<In> {
        self.exchange.incoming.take()
    }
}

impl<Out> Yielder<Out, ()> {
    /// Yields all of `values`, one after the other: Python's `yield from`.
    ///
    /// Dropping the future drops the values that have not been yielded.
    ///
    /// # Panics
    ///
    /// As [`yield_`](Yielder::yield_) does.
    pub async fn yield_from(&self, values: impl IntoIterator<Item = Out>) {
        for value in values {
            self.yield_(value).await;
        }
    }
}

impl<Out, In> fmt::Debug for Yielder<Out, In> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Yielder").finish_non_exhaustive()
    }
}

/// The future of [`Yielder::yield_`].
///
/// Dropping it before the generator is suspended yields nothing.
#[must_use = "a generator yields when this is awaited"]
pub struct Yield<'a, Out, In> {
    exchange: &'a Exchange<Out, In>,
    /// The value to be yielded; `None` once it has been.
    value: Option<Out>,
    /// In which `resume` the value was put into the exchange; 0 before that.
    handed_out: u64,
}

// Nothing in it is ever pinned: the value is moved in and out.
impl<Out, In> Unpin for Yield<'_, Out, In> {}

impl<Out, In> Future for Yield<'_, Out, In> {
    type Output = In;

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<In> {
        assert!(
            self.exchange.resuming.get(),
            "`yield_` was awaited outside the body of its generator"
        );
        let Some(value) = self.value.take() else {
            return match self.exchange.incoming.take() {
                Some(input) => Poll::Ready(input),
                None => Poll::Pending,
            };
        };
        self.exchange.incoming.take();
        let unclaimed = self.exchange.outgoing.replace(Some(value));
        assert!(unclaimed.is_none(), "a generator awaited two `yield_`s at once");
        self.handed_out = self.exchange.resumes.get();
        Poll::Pending
    }
}

impl<Out, In> Drop for Yield<'_, Out, In> {
    fn drop(&mut self) {
        // That `resume` has not returned, so its caller does not have the value yet.
        if self.exchange.resuming.get() && self.handed_out == self.exchange.resumes.get() {
            drop(self.exchange.outgoing.take());
        }
    }
}

impl<Out, In> fmt::Debug for Yield<'_, Out, In> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Yield").finish_non_exhaustive()
    }
}

/// Marks that `resume` is on the stack, also when the body panics through it.
struct Resuming<'a>(&'a Cell<bool>);

impl<'a> Resuming<'a> {
    fn start(flag: &'a Cell<bool>) -> Self {
        flag.set(true);
        Resuming(flag)
    }
}

impl Drop for Resuming<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    fn message(payload: Box<dyn std::any::Any + Send>) -> String {
        match payload.downcast::<String>() {
            Ok(text) => *text,
            Err(payload) => payload.downcast::<&str>().unwrap().to_string(),
        }
    }

    fn panic_of<T>(f: impl FnOnce() -> T) -> String {
        match catch_unwind(AssertUnwindSafe(f)) {
            Ok(_) => panic!("it did not panic"),
            Err(payload) => message(payload),
        }
    }

    #[test]
    fn nothing_runs_before_the_first_resume() {
        let ran = Rc::new(Cell::new(false));
        let flag = ran.clone();
        let mut generator: Generator<u32> = Generator::new(move |_| {
            flag.set(true);
            async {}
        });
        assert!(!ran.get());
        assert_eq!(generator.resume(()), Resumed::Complete(()));
        assert!(ran.get());
    }

    #[test]
    fn each_input_becomes_the_value_of_the_yield_it_resumes() {
        let mut echo: Generator<String, &'static str, usize> = Generator::new(|y| async move {
            let mut word = y.first_input().unwrap();
            let mut count = 0;
            while word != "end" {
                count += 1;
                word = y.yield_(format!("{word}!")).await;
            }
            count
        });
        assert_eq!(echo.resume("a"), Resumed::Yielded("a!".to_string()));
        assert_eq!(echo.resume("b"), Resumed::Yielded("b!".to_string()));
        assert_eq!(echo.resume("end"), Resumed::Complete(2));
        assert!(echo.is_finished());
    }

    #[test]
    fn an_unclaimed_first_input_is_not_the_answer_to_the_first_yield() {
        let mut generator: Generator<u32, u32, u32> =
            Generator::new(|y| async move { y.yield_(0).await });
        assert_eq!(generator.resume(1), Resumed::Yielded(0));
        assert_eq!(generator.resume(2), Resumed::Complete(2));
    }

    #[test]
    fn as_an_iterator_it_ends_and_stays_ended() {
        let mut numbers: Generator<u32, (), &str> = Generator::new(|y| async move {
            y.yield_from(0..3).await;
            "dropped"
        });
        assert_eq!(numbers.by_ref().collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(numbers.next(), None);
        assert_eq!(numbers.next(), None);
    }

    #[test]
    fn resuming_after_the_end_says_so() {
        let mut generator: Generator<u32> = Generator::new(|_| async {});
        generator.resume(());
        let said = panic_of(|| generator.resume(()));
        assert_eq!(said, "a generator was resumed after its end");
    }

    #[test]
    fn awaiting_anything_else_says_so_and_ends_it() {
        let mut generator: Generator<u32> = Generator::new(|_| std::future::pending());
        let said = panic_of(|| generator.resume(()));
        assert!(said.contains("something other than `yield_`"), "{said}");
        assert!(generator.is_finished());
    }

    #[test]
    fn awaiting_what_is_ready_at_once_is_fine() {
        let generator: Generator<u32> = Generator::new(|y| async move {
            let value = std::future::ready(7).await;
            y.yield_(value).await;
        });
        assert_eq!(generator.collect::<Vec<_>>(), [7]);
    }

    #[test]
    fn a_panic_passes_through_and_ends_it() {
        let mut generator: Generator<u32> = Generator::new(|y| async move {
            y.yield_(1).await;
            panic!("in the body");
        });
        generator.resume(());
        assert_eq!(panic_of(|| generator.resume(())), "in the body");
        assert!(generator.is_finished());
        assert!(panic_of(|| generator.resume(())).contains("after its end"));
    }

    #[test]
    fn a_yielder_that_escaped_cannot_yield_elsewhere() {
        let escaped = Rc::new(RefCell::new(None));
        let slot = escaped.clone();
        let mut generator: Generator<u32> = Generator::new(move |y| async move {
            slot.replace(Some(y));
        });
        generator.resume(());
        let yielder = escaped.take().unwrap();
        let mut outside = std::pin::pin!(yielder.yield_(1));
        let mut context = Context::from_waker(Waker::noop());
        let said = panic_of(|| outside.as_mut().poll(&mut context));
        assert!(said.contains("outside the body"), "{said}");
    }

    #[test]
    fn two_yields_at_once_are_refused() {
        let mut generator: Generator<u32> = Generator::new(|y| async move {
            futures_lite::future::zip(y.yield_(1), y.yield_(2)).await;
        });
        let said = panic_of(|| generator.resume(()));
        assert!(said.contains("two `yield_`s at once"), "{said}");
    }

    #[test]
    fn a_yield_that_is_given_up_yields_nothing() {
        use futures_lite::future::or;
        let mut generator: Generator<u32, (), &str> = Generator::new(|y| async move {
            or(async { y.yield_(7).await }, async {}).await;
            y.yield_(8).await;
            or(async { y.yield_(9).await }, std::future::pending()).await;
            "end"
        });
        assert_eq!(generator.resume(()), Resumed::Yielded(8));
        assert_eq!(generator.resume(()), Resumed::Yielded(9));
        assert_eq!(generator.resume(()), Resumed::Complete("end"));
    }

    #[test]
    fn dropping_it_drops_what_the_body_holds() {
        let held = Rc::new(());
        let inside = held.clone();
        let mut generator: Generator<u32> = Generator::new(move |y| async move {
            y.yield_(1).await;
            drop(inside);
        });
        generator.resume(());
        assert_eq!(Rc::strong_count(&held), 2);
        drop(generator);
        assert_eq!(Rc::strong_count(&held), 1);
    }

    #[test]
    fn generators_nest() {
        fn walk(depth: u32) -> Generator<u32> {
            Generator::new(move |y| async move {
                if depth > 0 {
                    y.yield_from(walk(depth - 1)).await;
                    y.yield_(depth).await;
                    y.yield_from(walk(depth - 1)).await;
                }
            })
        }
        assert_eq!(walk(3).collect::<Vec<_>>(), [1, 2, 1, 3, 1, 2, 1]);
    }
}
