//! The laws of recordings: nothing is missing, everything has a cause, and what was written is read.

// A handle is carried out of the run that made it.
#![allow(clippy::async_yields_async)]

mod child;

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::env;
use std::fs;
use std::future::{pending, poll_fn};
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{self, Command};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::thread;
use std::time::Duration;

use popleft::event::{End, Found, Why};
use popleft::net::UnixStream;
use popleft::record::{
    self, Cause, Entry, Event, Header, JsonLines, Memory, Place, ReadError, Reader, SCHEMA, Sink,
    Unknown,
};
use popleft::time::{sleep, timeout};
use popleft::{Handle, Runtime, spawn, spawn_blocking, yield_now};
use proptest::prelude::*;
use rustix::fs::{FlockOperation, flock};
use serde_json::{Map, Value, json};

const HOUR: Duration = Duration::from_secs(3600);

// ===== runs to be recorded ======================================================================

/// A run in which everything happens that can be recorded.
async fn everything() {
    // Names, joins, and a yield.
    let named = popleft::task::Builder::new().name("named").spawn(async { yield_now().await });
    named.await.unwrap();
    // A timer that comes, and one that is taken back.
    sleep(Duration::from_millis(2)).await;
    timeout(HOUR, yield_now()).await.unwrap();
    // A socket: one end waits, the other writes.
    let (ours, theirs) = UnixStream::pair().unwrap();
    let reader = spawn(async move {
        let mut word = [0; 5];
        ours.read_exact(&mut word).await.map(|()| word)
    });
    yield_now().await;
    theirs.write_all(b"hello").await.unwrap();
    assert_eq!(&reader.await.unwrap().unwrap(), b"hello");
    // Jobs; a wake and a spawn from another thread.
    assert_eq!(spawn_blocking(|| 6 * 7).await.unwrap(), 42);
    let handle = Handle::current().unwrap();
    let mut stranger = None;
    let mut first = true;
    poll_fn(|cx| match std::mem::take(&mut first) {
        true => {
            let waker = cx.waker().clone();
            let handle = handle.clone();
            stranger = Some(thread::spawn(move || {
                waker.wake();
                handle.spawn(async { 7 }).wait()
            }));
            Poll::Pending
        }
        false => Poll::Ready(()),
    })
    .await;
    let stranger = stranger.unwrap();
    while !stranger.is_finished() {
        yield_now().await;
    }
    assert_eq!(stranger.join().unwrap().unwrap(), 7);
    // The other ways to end.
    let panics = spawn(async { panic!("as it was meant to") });
    assert!(panics.await.unwrap_err().is_panic());
    let aborted = spawn(pending::<()>());
    yield_now().await;
    aborted.abort();
    assert!(aborted.await.unwrap_err().is_cancelled());
    // Goes with the runtime, with its timer.
    drop(spawn(sleep(HOUR)));
    yield_now().await;
}

/// What `run` does in a runtime of its own, to the runtime's end.
fn recorded<F: Future>(run: F) -> Vec<Entry> {
    let memory = Memory::all();
    let runtime = Runtime::builder().record(memory.clone()).build().unwrap();
    runtime.block_on(run);
    drop(runtime);
    memory.entries()
}

/// The event that is written so. Its variants cannot be built here, since they may get new fields.
fn event(fields: Value) -> Event {
    let event: Event = serde_json::from_value(fields.clone()).unwrap();
    let without_nulls = |value: &Value| {
        let fields = value.as_object().unwrap().clone().into_iter();
        fields.filter(|(_, value)| !value.is_null()).collect::<Map<_, _>>()
    };
    let written = serde_json::to_value(&event).unwrap();
    assert_eq!(without_nulls(&written), without_nulls(&fields), "a field is lost");
    event
}

fn kind(event: &Event) -> String {
    let value = serde_json::to_value(event).unwrap();
    value["kind"].as_str().unwrap().to_string()
}

fn kinds(entries: &[Entry]) -> Vec<String> {
    entries.iter().map(|entry| kind(&entry.event)).collect()
}

// ===== what a recording holds ===================================================================

#[test]
fn everything_that_happens_is_recorded() {
    let entries = recorded(everything());
    let found: HashSet<_> = kinds(&entries).into_iter().collect();
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    for line in schema["oneOf"].as_array().unwrap() {
        let name = line["$ref"].as_str().unwrap().rsplit('/').next().unwrap();
        assert!(name == "header" || found.contains(name), "no {name} in {found:?}");
    }
}

#[test]
fn a_small_run_is_recorded_event_by_event() {
    let entries = recorded(async {
        let task = popleft::task::Builder::new().name("one").spawn(async { yield_now().await });
        task.await.unwrap();
    });
    let expected = [
        "spawn", "poll", "spawn", "pending", "poll", "pending", "wake", "poll", "done", "wake",
        "poll", "done",
    ];
    assert_eq!(kinds(&entries), expected);
    let at = match &entries[2].event {
        Event::Spawn { at, .. } => at.clone(),
        other => panic!("{other:?}"),
    };
    let one =
        event(json!({"kind": "spawn", "task": 1, "by": {"task": 0}, "name": "one", "at": at}));
    assert_eq!(entries[2].event, one);
    let Event::Spawn { by: Cause::Outside, name: Some(name), at: Some(at), .. } = &entries[0].event
    else {
        panic!("{:?}", entries[0]);
    };
    assert_eq!(&**name, "main");
    assert!(at.to_string().starts_with("runtime/tests/record.rs:"), "{at}");
    let waits_for_one = event(json!({"kind": "pending", "task": 0, "why": "join", "on": 1}));
    assert_eq!(entries[3].event, waits_for_one);
    assert!(matches!(entries[5].event, Event::Pending { task: 1, why: Why::Yield, .. }));
    let wake = |task: u32| event(json!({"kind": "wake", "task": task, "by": {"task": 1}}));
    assert_eq!(entries[6].event, wake(1));
    assert_eq!(entries[8].event, event(json!({"kind": "done", "task": 1, "how": "ok"})));
    assert_eq!(entries[9].event, wake(0));
}

/// The laws that hold for every recording from its beginning to its end.
fn hold_to_the_laws(entries: &[Entry]) {
    for (number, entry) in entries.iter().enumerate() {
        assert_eq!(entry.seq, number as u64);
    }
    assert!(entries.is_sorted_by_key(|entry| entry.t));
    // Tasks: what each one's next poll would be for; none for one that has ended.
    let mut cause: HashMap<u32, Option<String>> = HashMap::new();
    let mut ended = HashSet::new();
    let mut running = None;
    let mut timers = HashMap::new();
    let mut sources = HashSet::new();
    let mut jobs: HashMap<u32, &str> = HashMap::new();
    for Entry { seq, event, .. } in entries {
        match event {
            Event::Spawn { task, by, .. } => {
                let before = cause.insert(*task, Some(format!("spawned by {by:?}")));
                assert!(before.is_none(), "{seq}: {task} was spawned before");
            }
            // It is not in the deque: the job's end has to wake it.
            Event::JobSubmit { task, .. } => {
                assert!(cause.insert(*task, None).is_some());
                jobs.insert(*task, "submitted");
            }
            Event::JobStart { task, .. } => {
                assert_eq!(jobs.insert(*task, "started"), Some("submitted"), "{seq}");
            }
            Event::JobDone { task, .. } => {
                assert_eq!(jobs.insert(*task, "done"), Some("started"), "{seq}");
            }
            Event::Wake { task, by, .. } => {
                assert!(!ended.contains(task), "{seq}: {task} has ended");
                let before = cause.insert(*task, Some(format!("woken by {by:?}")));
                assert_eq!(before, Some(None), "{seq}: {task} was to be polled already");
                if let Cause::Task(by) = by {
                    assert!(cause.contains_key(by), "{seq}: {by} was never spawned");
                }
            }
            Event::Poll { task, .. } => {
                let why = cause.insert(*task, None).flatten();
                assert!(why.is_some(), "{seq}: nothing says why {task} is polled");
                assert_eq!(running.replace(*task), None, "{seq}: two turns at once");
            }
            Event::Pending { task, .. } => assert_eq!(running.take(), Some(*task), "{seq}"),
            Event::Done { task, how, .. } => {
                // Outside its turn a task ends only with its runtime.
                match running.take() {
                    Some(running) => assert_eq!(running, *task, "{seq}"),
                    None => assert_eq!(*how, End::Cancelled, "{seq}"),
                }
                assert!(ended.insert(*task), "{seq}: {task} ends twice");
            }
            Event::Register { source, .. } => assert!(sources.insert(*source), "{seq}"),
            Event::Deregister { source, .. } => assert!(sources.remove(source), "{seq}"),
            Event::Io { source, task, .. } => {
                assert!(sources.contains(source), "{seq}");
                assert_eq!(*task, running, "{seq}");
            }
            Event::TimerSet { timer, task, deadline, .. } => {
                assert_eq!(*task, running, "{seq}");
                assert_eq!(timers.insert(*timer, (*task, *deadline)), None, "{seq}");
            }
            Event::TimerFired { timer, task, deadline, .. } => {
                assert_eq!(timers.remove(timer), Some((*task, *deadline)), "{seq}");
            }
            Event::TimerCancelled { timer, task, .. } => {
                let set = timers.remove(timer);
                assert_eq!(set.map(|(task, _)| task), Some(*task), "{seq}");
            }
            _ => {}
        }
    }
    assert_eq!(ended.len(), cause.len(), "who was spawned has ended");
    assert!(timers.is_empty(), "{timers:?} neither fired nor were cancelled");
    assert!(sources.is_empty(), "{sources:?} are still watched");
}

#[test]
fn every_poll_has_a_cause_and_nothing_is_left_over() {
    let entries = recorded(everything());
    hold_to_the_laws(&entries);
}

#[test]
fn the_laws_hold_for_a_loop_that_was_stopped() {
    let memory = Memory::all();
    let runtime = Runtime::builder().record(memory.clone()).build().unwrap();
    let handle = runtime.handle();
    runtime.block_on(async {
        drop(spawn(sleep(HOUR)));
        yield_now().await;
    });
    handle.stop();
    runtime.run_until_stopped();
    drop(runtime);
    let entries = memory.entries();
    hold_to_the_laws(&entries);
    let cut = |task: u32| event(json!({"kind": "done", "task": task, "how": "cancelled"}));
    let ends: Vec<_> = entries.iter().filter(|e| matches!(e.event, Event::Done { .. })).collect();
    assert_eq!(ends[1].event, cut(2), "the main task that was stopped");
    assert_eq!(ends[2].event, cut(1), "the task that went with the runtime");
}

/// The cause of every wake of `task` that is not its own doing.
fn wakes_of(task: u32, entries: &[Entry]) -> Vec<Cause> {
    let wake = |entry: &Entry| match entry.event {
        Event::Wake { task: woken, by, .. } if woken == task && by != Cause::Task(task) => Some(by),
        _ => None,
    };
    entries.iter().filter_map(wake).collect()
}

#[test]
fn a_wake_says_what_it_was() {
    let entries = recorded(sleep(Duration::from_millis(1)));
    assert_eq!(wakes_of(0, &entries), [Cause::Timer(0)]);

    let entries = recorded(async { spawn_blocking(|| ()).await.unwrap() });
    assert_eq!(wakes_of(1, &entries), [Cause::Job]);
    assert_eq!(wakes_of(0, &entries), [Cause::Task(1)]);

    let entries = recorded(async {
        let mut first = true;
        poll_fn(|cx| match std::mem::take(&mut first) {
            true => {
                let waker = cx.waker().clone();
                thread::spawn(move || waker.wake());
                Poll::Pending
            }
            false => Poll::Ready(()),
        })
        .await;
    });
    assert_eq!(wakes_of(0, &entries), [Cause::Thread]);

    let entries = recorded(async {
        // So that the one that is waited for is not number 0.
        let _others = UnixStream::pair().unwrap();
        let (ours, theirs) = UnixStream::pair().unwrap();
        let reader = spawn(async move { ours.read(&mut [0]).await });
        // It has found nothing, and waits.
        yield_now().await;
        theirs.write_all(b"!").await.unwrap();
        reader.await.unwrap().unwrap();
    });
    assert_eq!(wakes_of(1, &entries), [Cause::Source(2)]);
    hold_to_the_laws(&entries);
}

#[test]
fn an_abort_is_not_taken_for_the_end_of_a_job() {
    let memory = Memory::all();
    let runtime = Runtime::builder().record(memory.clone()).build().unwrap();
    let (gate, closed) = std::sync::mpsc::channel::<()>();
    let job = runtime.block_on(async { spawn_blocking(move || closed.recv()) });
    // Outside the loop, as from another thread.
    job.abort();
    runtime.block_on(async { assert!(job.await.unwrap_err().is_cancelled()) });
    drop(gate);
    assert_eq!(wakes_of(1, &memory.entries()), [Cause::Thread]);
}

#[test]
fn a_try_says_what_it_found() {
    let entries = recorded(async {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let reader = spawn(async move {
            let mut byte = [0];
            ours.read_exact(&mut byte).await
        });
        yield_now().await;
        theirs.write_all(b"!").await.unwrap();
        reader.await.unwrap().unwrap();
    });
    let tries: Vec<_> = entries
        .iter()
        .filter_map(|entry| match &entry.event {
            Event::Io { source, task, way, found, at, .. } => {
                assert!(at.as_ref().unwrap().to_string().starts_with("runtime/tests/record.rs:"));
                Some((*source, task.unwrap(), *way, *found))
            }
            _ => None,
        })
        .collect();
    let expected = [
        (0, 1, Why::Read, Found::WouldBlock),
        (1, 0, Why::Write, Found::Done),
        (0, 1, Why::Read, Found::Done),
    ];
    assert_eq!(tries, expected);
}

#[test]
fn two_runs_of_one_program_differ_in_nothing_but_times() {
    async fn program() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let reader = spawn(async move { ours.read(&mut [0]).await });
        drop(timeout(HOUR, pending::<()>()));
        timeout(HOUR, yield_now()).await.unwrap();
        theirs.write_all(b"!").await.unwrap();
        reader.await.unwrap().unwrap();
    }
    let lines = || {
        let mut entries = recorded(program());
        for entry in &mut entries {
            entry.t = Duration::ZERO;
            match &mut entry.event {
                Event::TimerSet { deadline: time, .. } => *time = Duration::ZERO,
                Event::Wait { at_most: Some(time), .. } => *time = Duration::ZERO,
                _ => {}
            }
        }
        entries
    };
    assert_eq!(lines(), lines());
}

#[test]
fn a_listener_and_two_sinks_hear_the_same() {
    let heard = Rc::new(Cell::new(0));
    let count = heard.clone();
    let (all, some) = (Memory::all(), Memory::last(5));
    let runtime = Runtime::builder()
        .listener(move |_| count.set(count.get() + 1))
        .record(all.clone())
        .record(some.clone())
        .build()
        .unwrap();
    runtime.block_on(everything());
    drop(runtime);
    let entries = all.entries();
    assert_eq!(entries.len(), heard.get());
    assert_eq!(some.entries(), entries[entries.len() - 5..]);
    all.clear();
    assert!(all.entries().is_empty());
}

#[test]
fn memory_keeps_exactly_the_last_so_many() {
    let all = Memory::all();
    let some: Vec<_> = [0, 1, 999, 5_000].map(|most| (most.max(1), Memory::last(most))).into();
    let mut builder = Runtime::builder().record(all.clone());
    for (_, memory) in &some {
        builder = builder.record(memory.clone());
    }
    let runtime = builder.build().unwrap();
    for _ in 0..30 {
        runtime.block_on(async {
            for _ in 0..333 {
                yield_now().await;
            }
        });
        let entries = all.entries();
        assert!(entries.iter().map(|entry| entry.seq).eq(0..entries.len() as u64));
        for (most, memory) in &some {
            assert_eq!(memory.entries(), entries[entries.len().saturating_sub(*most)..]);
        }
    }
    // What it has is also what it takes.
    let mut copy = Memory::last(5_000);
    for entry in all.entries() {
        copy.record(entry).unwrap();
    }
    assert_eq!(copy.entries(), some[3].1.entries());
}

#[test]
fn two_runtimes_may_share_a_memory() {
    let memory = Memory::all();
    for _ in 0..2 {
        let runtime = Runtime::builder().record(memory.clone()).build().unwrap();
        runtime.block_on(async {});
    }
    let entries = memory.entries();
    let (first, second) = entries.split_at(entries.len() / 2);
    assert_eq!(kinds(first), kinds(second));
    assert!(first.iter().map(|entry| entry.seq).eq(second.iter().map(|entry| entry.seq)));
}

#[test]
fn times_never_go_back_and_a_yield_is_one_moment() {
    let entries = recorded(async {
        everything().await;
        for _ in 0..1000 {
            yield_now().await;
        }
    });
    assert!(entries.is_sorted_by_key(|entry| entry.t));
    let mut yields = 0;
    for pair in entries.windows(2) {
        match (&pair[0].event, &pair[1].event) {
            (Event::Pending { task, .. }, Event::Wake { task: woken, .. }) if task == woken => {
                assert_eq!(pair[0].t, pair[1].t);
                yields += 1;
            }
            _ => {}
        }
    }
    assert!(yields >= 1000);
}

#[test]
fn a_name_without_end_is_cut() {
    let name = "ä".repeat(1_000_000);
    let entries = recorded(async move {
        popleft::task::Builder::new().name(name).spawn(async {}).await.unwrap();
    });
    let names: Vec<_> = entries
        .iter()
        .filter_map(|entry| match &entry.event {
            Event::Spawn { name, .. } => name.clone(),
            _ => None,
        })
        .collect();
    assert_eq!(&*names[1], "ä".repeat(2048));
}

// ===== sinks that fail ==========================================================================

/// Fails at its third event, or panics there.
struct Broken {
    calls: Rc<RefCell<Vec<u64>>>,
    panics: bool,
}

impl Sink for Broken {
    fn begin(&mut self, header: &Header) -> io::Result<()> {
        assert_eq!(header.runtime, "main");
        Ok(())
    }

    fn record(&mut self, entry: Entry) -> io::Result<()> {
        self.calls.borrow_mut().push(entry.seq);
        match (entry.seq, self.panics) {
            (2, true) => panic!("a sink that panics"),
            (2, false) => Err(io::Error::other("a sink that fails")),
            _ => Ok(()),
        }
    }
}

#[test]
fn a_sink_that_fails_is_asked_no_more() {
    for panics in [false, true] {
        let calls = Rc::new(RefCell::new(vec![]));
        let broken = Broken { calls: calls.clone(), panics };
        let runtime = Runtime::builder().record(broken).build().unwrap();
        assert_eq!(runtime.block_on(async { yield_now().await }), ());
        drop(runtime);
        assert_eq!(*calls.borrow(), [0, 1, 2]);
    }
}

/// The calls of a sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    Begin,
    Record,
    End,
    Drop,
}

/// An error that panics when it is printed.
#[derive(Debug)]
struct Unprintable;

impl std::fmt::Display for Unprintable {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        panic!("an error that panics")
    }
}

impl std::error::Error for Unprintable {}

/// Panics in one of its calls, or fails there with an error that panics, and tells of all of them.
struct Breaks {
    at: Call,
    by_an_error: bool,
    calls: Rc<RefCell<Vec<Call>>>,
}

impl Breaks {
    fn call(&self, call: Call) -> io::Result<()> {
        let mut calls = self.calls.borrow_mut();
        if calls.last() != Some(&call) {
            calls.push(call);
        }
        drop(calls);
        match (call == self.at, self.by_an_error) {
            (true, true) if call != Call::Drop => Err(io::Error::other(Unprintable)),
            (true, _) => panic!("a sink that panics in {call:?}"),
            _ => Ok(()),
        }
    }
}

impl Sink for Breaks {
    fn begin(&mut self, _: &Header) -> io::Result<()> {
        self.call(Call::Begin)
    }

    fn record(&mut self, _: Entry) -> io::Result<()> {
        self.call(Call::Record)
    }

    fn end(&mut self) -> io::Result<()> {
        self.call(Call::End)
    }
}

impl Drop for Breaks {
    fn drop(&mut self) {
        let _ = self.call(Call::Drop);
    }
}

/// Keeps entries, and tells of its end.
struct Whole {
    entries: Rc<RefCell<Vec<Entry>>>,
    ended: Rc<Cell<bool>>,
}

impl Sink for Whole {
    fn begin(&mut self, _: &Header) -> io::Result<()> {
        Ok(())
    }

    fn record(&mut self, entry: Entry) -> io::Result<()> {
        self.entries.borrow_mut().push(entry);
        Ok(())
    }

    fn end(&mut self) -> io::Result<()> {
        self.ended.set(true);
        Ok(())
    }
}

#[test]
fn a_sink_that_panics_in_any_call_harms_neither_the_program_nor_other_sinks() {
    let expected = [
        (Call::Begin, &[Call::Begin, Call::Drop][..]),
        (Call::Record, &[Call::Begin, Call::Record, Call::Drop]),
        (Call::End, &[Call::Begin, Call::Record, Call::End, Call::Drop]),
        (Call::Drop, &[Call::Begin, Call::Record, Call::End, Call::Drop]),
    ];
    for (at, expected) in expected {
        for by_an_error in [false, true] {
            // Also when the runtime goes because of another panic.
            for panics_meanwhile in [false, true] {
                let calls: Rc<RefCell<Vec<Call>>> = Rc::default();
                let entries: [Rc<RefCell<Vec<Entry>>>; 2] = Default::default();
                let ended: [Rc<Cell<bool>>; 2] = Default::default();
                let sink =
                    |n: usize| Whole { entries: entries[n].clone(), ended: ended[n].clone() };
                let runtime = Runtime::builder()
                    .record(sink(0))
                    .record(Breaks { at, by_an_error, calls: calls.clone() })
                    .record(sink(1))
                    .build()
                    .unwrap();
                let ran = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
                    runtime.block_on(yield_now());
                    assert!(!panics_meanwhile, "the runtime is dropped meanwhile");
                }));
                assert_eq!(ran.is_err(), panics_meanwhile);
                assert_eq!(*calls.borrow(), expected, "{at:?} {by_an_error}");
                assert!(ended.iter().all(|ended| ended.get()), "{at:?} {by_an_error}");
                let [first, second] = &entries;
                assert_eq!(*first.borrow(), *second.borrow());
                hold_to_the_laws(&first.borrow());
            }
        }
    }
}

#[test]
fn a_listener_beside_a_sink_that_panics_hears_everything() {
    let heard: Rc<Cell<usize>> = Rc::default();
    let count = heard.clone();
    let memory = Memory::all();
    let runtime = Runtime::builder()
        .listener(move |_| count.set(count.get() + 1))
        .record(Breaks { at: Call::Record, by_an_error: false, calls: Rc::default() })
        .record(memory.clone())
        .build()
        .unwrap();
    runtime.block_on(yield_now());
    drop(runtime);
    assert_eq!(heard.get(), memory.entries().len());
}

fn complaints(stderr: &str) -> Vec<&str> {
    stderr.lines().filter(|line| line.starts_with("popleft: ")).collect()
}

#[test]
fn a_pipe_that_is_closed_ends_the_recording_and_not_the_program() {
    if let Some(stderr) =
        child::stderr_of("a_pipe_that_is_closed_ends_the_recording_and_not_the_program")
    {
        let said = complaints(&stderr);
        assert_eq!(said.len(), 1, "{stderr}");
        assert!(said[0].starts_with("popleft: the recording has ended: Broken pipe"), "{stderr}");
        return;
    }
    let (mut reader, writer) = io::pipe().unwrap();
    let runtime = Runtime::builder().record(JsonLines::new(writer)).build().unwrap();
    let mut beginning = [0; 10];
    reader.read_exact(&mut beginning).unwrap();
    assert_eq!(&beginning, b"{\"format\":");
    drop(reader);
    runtime.block_on(async {
        for _ in 0..3 {
            sleep(Duration::from_millis(1)).await;
        }
    });
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_ends_the_recording_and_not_the_program() {
    let test = "a_full_disk_ends_the_recording_and_not_the_program";
    if let Some(stderr) = child::stderr_of(test) {
        let said = complaints(&stderr);
        assert_eq!(said.len(), 1, "{stderr}");
        assert!(said[0].contains("No space left on device"), "{stderr}");
        return;
    }
    let full = JsonLines::create("/dev/full").unwrap();
    let runtime = Runtime::builder().record(full).build().unwrap();
    runtime.block_on(everything());
}

// ===== files ====================================================================================

/// A folder that goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("popleft-record-{}-{number}", process::id());
        let folder = env::temp_dir().join(name);
        fs::create_dir(&folder).unwrap();
        Folder(folder)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn read_all(path: &Path) -> Vec<Entry> {
    record::read(path).unwrap().collect::<Result<_, _>>().unwrap()
}

#[test]
fn a_file_holds_what_memory_holds() {
    let folder = Folder::new();
    let memory = Memory::all();
    let runtime = Runtime::builder()
        .name("both")
        .polls_between_looks(3)
        .record(memory.clone())
        .record(JsonLines::create(folder.file("run.jsonl")).unwrap())
        .build()
        .unwrap();
    runtime.block_on(everything());
    drop(runtime);
    assert_eq!(read_all(&folder.file("run.jsonl")), memory.entries());

    let reader = record::read(folder.file("run.jsonl")).unwrap();
    let header = reader.header();
    assert_eq!((&*header.runtime, header.polls_between_looks), ("both", 3));
    assert_eq!(Some(header), memory.header().as_ref());

    let mut copy = vec![];
    memory.write_to(&mut copy).unwrap();
    assert_eq!(copy, fs::read(folder.file("run.jsonl")).unwrap());
    // What was read is written as it was.
    let again = Runtime::builder().record(Copier(Vec::new(), reader)).build().unwrap();
    drop(again);
}

/// Writes all that it has from a reader, and compares it with what the reader read.
struct Copier(Vec<u8>, Reader<BufReader<fs::File>>);

impl Sink for Copier {
    fn begin(&mut self, _: &Header) -> io::Result<()> {
        let mut lines = JsonLines::new(&mut self.0);
        lines.begin(self.1.header())?;
        let entries: Vec<_> = self.1.by_ref().map(Result::unwrap).collect();
        for entry in &entries {
            lines.record(entry.clone())?;
        }
        lines.end()?;
        drop(lines);
        let copied: Result<Vec<_>, _> = Reader::new(&*self.0).unwrap().collect();
        assert_eq!(copied.unwrap(), entries);
        Ok(())
    }

    fn record(&mut self, _: Entry) -> io::Result<()> {
        Ok(())
    }
}

/// A recording as bytes.
fn bytes_of<F: Future>(run: F) -> Vec<u8> {
    let memory = Memory::all();
    Runtime::builder().record(memory.clone()).build().unwrap().block_on(run);
    let mut bytes = vec![];
    memory.write_to(&mut bytes).unwrap();
    bytes
}

#[test]
fn a_recording_that_was_cut_anywhere_is_read_to_the_cut() {
    let whole = bytes_of(async {
        popleft::task::Builder::new().name("täsk").spawn(yield_now()).await.unwrap();
        sleep(Duration::from_millis(1)).await;
    });
    let entries: Vec<_> = Reader::new(&*whole).unwrap().map(Result::unwrap).collect();
    let header_ends = whole.iter().position(|&byte| byte == b'\n').unwrap();
    for length in header_ends + 1..=whole.len() {
        let mut reader = Reader::new(&whole[..length]).unwrap();
        let read: Vec<_> = reader.by_ref().map(Result::unwrap).collect();
        let lines = whole[..length].iter().filter(|&&byte| byte == b'\n').count();
        // A line whose end alone is missing is whole.
        let tail = whole[..length].rsplit(|&byte| byte == b'\n').next().unwrap();
        let is_whole = serde_json::from_slice::<Entry>(tail).is_ok();
        let expected = lines.saturating_sub(1) + usize::from(is_whole);
        assert_eq!(read, entries[..expected], "cut at {length}");
        assert_eq!(reader.is_cut(), !tail.is_empty() && !is_whole, "cut at {length}");
        assert!(reader.next().is_none());
    }
    for length in 0..header_ends {
        let error = Reader::new(&whole[..length]).unwrap_err();
        assert!(matches!(error, ReadError::NotARecording), "cut at {length}: {error}");
    }
}

#[test]
fn what_is_no_recording_is_said_to_be_none() {
    let said = |bytes: &[u8]| Reader::new(bytes).unwrap_err().to_string();
    let header = r#"{"format":"popleft-record","version":1}"#;
    for garbage in ["", "\n", "hello\n", "[1]\n", "{}\n", "{\"version\":1}\n", "\0\0\0", header] {
        let error = said(garbage.as_bytes());
        let expected = match garbage == header {
            true => "line 1: missing field `popleft`",
            false => {
                "this is not a recording: its first line must be a header with \
                 \"format\":\"popleft-record\" and a \"version\""
            }
        };
        assert_eq!(error, expected, "{garbage:?}");
    }
    assert_eq!(
        said(br#"{"format":"popleft-record","version":2,"changed":true}"#),
        "this recording has version 2, and only version 1 can be read here"
    );
    let missing = record::read("/nowhere/run.jsonl").unwrap_err().to_string();
    assert!(missing.starts_with("cannot read the recording: No such file"), "{missing}");
}

fn after_a_header(lines: &str) -> Vec<u8> {
    let mut bytes = br#"{"format":"popleft-record","version":1,"popleft":"0.1.0","runtime":"main","polls_between_looks":64}"#.to_vec();
    bytes.push(b'\n');
    bytes.extend(lines.as_bytes());
    bytes
}

#[test]
fn an_error_quotes_only_the_beginning_of_what_is_wrong() {
    let long = "well at line 5, ".repeat(50_000);
    for bad in [
        format!(r#"{{"seq":1,"t_ns":5,"kind":"done","task":0,"how":"{long}"}}"#),
        format!(r#"{{"seq":1,"t_ns":5,"kind":"poll","task":"{long}"}}"#),
        format!(r#"{{"seq":"{long}","t_ns":5,"kind":"poll","task":0}}"#),
    ] {
        let bytes = after_a_header(&format!("{bad}\n"));
        let error = Reader::new(&*bytes).unwrap().next().unwrap().unwrap_err().to_string();
        assert!(error.starts_with("line 2: ") && error.contains("well at line 5, well"), "{error}");
        assert!(error.ends_with("..") && error.len() < 200, "{error}");
    }
}

#[test]
fn a_line_that_is_no_entry_is_named() {
    let good = r#"{"seq":0,"t_ns":5,"kind":"poll","task":0}"#;
    let cases = [
        ("hello", "line 3: expected value"),
        ("", "line 3: EOF while parsing a value"),
        ("[]", "line 3: invalid type: sequence, expected a map"),
        (r#"{"t_ns":5,"kind":"poll","task":0}"#, "line 3: missing field `seq`"),
        (r#"{"seq":1,"kind":"poll","task":0}"#, "line 3: missing field `t_ns`"),
        (r#"{"seq":1,"t_ns":5,"task":0}"#, "line 3: missing field `kind`"),
        (r#"{"seq":1,"t_ns":5,"kind":3}"#, "line 3: kind must be a word"),
        (
            r#"{"seq":-1,"t_ns":5,"kind":"poll","task":0}"#,
            "line 3: seq must be a whole number from 0 on, not -1",
        ),
        (r#"{"seq":1,"t_ns":5,"kind":"poll"}"#, "line 3: poll: missing field `task`"),
        (
            r#"{"seq":1,"t_ns":5,"kind":"done","task":0,"how":"well"}"#,
            "line 3: done: \"well\" is none of ok, panic, cancelled",
        ),
    ];
    for (bad, expected) in cases {
        let bytes = after_a_header(&format!("{good}\n{bad}\n{good}\n"));
        let mut reader = Reader::new(&*bytes).unwrap();
        assert!(reader.next().unwrap().is_ok());
        let error = reader.next().unwrap().unwrap_err().to_string();
        assert_eq!(error, expected);
        assert!(reader.next().is_none(), "an error is the last thing");
        assert!(!reader.is_cut());
    }
}

#[test]
fn a_line_without_end_is_not_read_into_memory() {
    // A header that never ends, and an entry that never ends; neither do the readers.
    let error = Reader::new(BufReader::new(io::repeat(b' '))).unwrap_err();
    assert_eq!(error.to_string(), "line 1: it is longer than 1048576 bytes");
    let header = after_a_header("");
    let endless = BufReader::new(header.chain(io::repeat(b'1')));
    let mut reader = Reader::new(endless).unwrap();
    let error = reader.next().unwrap().unwrap_err();
    assert_eq!(error.to_string(), "line 2: it is longer than 1048576 bytes");
    assert!(reader.next().is_none());
}

#[test]
fn a_kind_of_the_future_is_kept_as_it_is() {
    let line = r#"{"seq":7,"t_ns":5,"kind":"teleport","task":3,"to":{"planet":"Mars"}}"#;
    let bytes = after_a_header(&format!("{line}\n"));
    let entry = Reader::new(&*bytes).unwrap().next().unwrap().unwrap();
    let Event::Unknown(unknown) = &entry.event else {
        panic!("{entry:?}");
    };
    assert_eq!((&*unknown.kind, &unknown.fields["task"]), ("teleport", &json!(3)));
    let written = serde_json::to_value(&entry).unwrap();
    assert_eq!(written, serde_json::from_str::<Value>(line).unwrap());
    // A field of the future does no harm either.
    let line = r#"{"seq":7,"t_ns":5,"kind":"poll","task":3,"mood":"good"}"#;
    let entry: Entry = serde_json::from_str(line).unwrap();
    assert_eq!(entry.event, event(json!({"kind": "poll", "task": 3})));
}

// ===== round trip and schema ====================================================================

fn a_place() -> impl Strategy<Value = Option<Place>> {
    proptest::option::of("\\PC{0,20}:[0-9]{1,4}".prop_map(|text| Place::from(&*text)))
}

fn a_cause() -> impl Strategy<Value = Cause> {
    prop_oneof![
        any::<u32>().prop_map(Cause::Task),
        any::<usize>().prop_map(Cause::Source),
        any::<u32>().prop_map(Cause::Timer),
        Just(Cause::Job),
        Just(Cause::Thread),
        Just(Cause::Outside),
    ]
}

fn a_why() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(vec![
        "unknown", "read", "write", "timer", "join", "offload", "yield", "lock",
    ])
}

fn an_event() -> impl Strategy<Value = Event> {
    let task = any::<u32>;
    let number = any::<usize>;
    let time = any::<u64>;
    let perhaps = || proptest::option::of(any::<u32>());
    let end = proptest::sample::select(vec!["ok", "panic", "cancelled"]);
    let found = proptest::sample::select(vec!["done", "would_block", "error"]);
    let way = proptest::sample::select(vec!["read", "write"]);
    let name = proptest::option::of("\\PC*");
    prop_oneof![
        (task(), a_cause(), name, a_place()).prop_map(|(task, by, name, at)| {
            json!({"kind": "spawn", "task": task, "by": by, "name": name, "at": at})
        }),
        task().prop_map(|task| json!({"kind": "poll", "task": task})),
        (task(), a_why(), perhaps(), a_place()).prop_map(|(task, why, on, at)| {
            json!({"kind": "pending", "task": task, "why": why, "on": on, "at": at})
        }),
        (task(), end).prop_map(|(task, how)| json!({"kind": "done", "task": task, "how": how})),
        (task(), a_cause()).prop_map(|(task, by)| json!({"kind": "wake", "task": task, "by": by})),
        (number(), perhaps())
            .prop_map(|(source, task)| json!({"kind": "register", "source": source, "task": task})),
        (number(), perhaps()).prop_map(
            |(source, task)| json!({"kind": "deregister", "source": source, "task": task})
        ),
        (number(), perhaps(), way, found, a_place()).prop_map(|(source, task, way, found, at)| {
            json!({
                "kind": "io", "source": source, "task": task, "way": way, "found": found, "at": at
            })
        }),
        Just(json!({"kind": "look_outside"})),
        proptest::option::of(time())
            .prop_map(|at_most| json!({"kind": "wait", "at_most_ns": at_most})),
        number().prop_map(|ready| json!({"kind": "woke", "ready": ready})),
        (task(), perhaps(), time(), a_place()).prop_map(|(timer, task, deadline, at)| {
            json!({
                "kind": "timer_set", "timer": timer, "task": task, "deadline_ns": deadline, "at": at
            })
        }),
        (task(), perhaps(), time()).prop_map(|(timer, task, deadline)| {
            json!({"kind": "timer_fired", "timer": timer, "task": task, "deadline_ns": deadline})
        }),
        (task(), perhaps()).prop_map(
            |(timer, task)| json!({"kind": "timer_cancelled", "timer": timer, "task": task})
        ),
        (task(), a_place())
            .prop_map(|(task, at)| json!({"kind": "job_submit", "task": task, "at": at})),
        task().prop_map(|task| json!({"kind": "job_start", "task": task})),
        task().prop_map(|task| json!({"kind": "job_done", "task": task})),
    ]
    .prop_map(event)
}

fn an_entry() -> impl Strategy<Value = Entry> {
    (any::<u64>(), any::<u64>(), an_event()).prop_map(|(seq, t, event)| Entry {
        seq,
        t: Duration::from_nanos(t),
        event,
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read(entries in proptest::collection::vec(an_entry(), 0..20)) {
        let mut bytes = after_a_header("");
        let mut lines = JsonLines::new(&mut bytes);
        for entry in &entries {
            lines.record(entry.clone()).unwrap();
        }
        lines.end().unwrap();
        drop(lines);
        let read: Result<Vec<_>, _> = Reader::new(&*bytes).unwrap().collect();
        prop_assert_eq!(read.unwrap(), entries);
    }

    #[test]
    fn what_is_written_keeps_to_the_schema(entry in an_entry()) {
        let schema: Value = serde_json::from_str(SCHEMA).unwrap();
        let line = serde_json::to_value(&entry).unwrap();
        let checked = check(&line, &schema, &schema);
        prop_assert!(checked.is_ok(), "{}: {:?}", line, checked);
    }

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        for bytes in [bytes, after_a_header(&text)] {
            if let Ok(reader) = Reader::new(&*bytes) {
                let _ = reader.count();
            }
        }
    }
}

/// Whether `value` is as `schema` says. It knows the words that our schema uses, and refuses a
/// schema that uses others.
fn check(value: &Value, schema: &Value, root: &Value) -> Result<(), String> {
    for (word, says) in schema.as_object().expect("a schema is an object") {
        let holds = match word.as_str() {
            "$schema" | "$defs" | "title" | "description" => true,
            "$ref" => {
                let pointer = says.as_str().unwrap().trim_start_matches('#');
                check(value, root.pointer(pointer).unwrap_or_else(|| panic!("{says}")), root)?;
                true
            }
            "const" => value == says,
            "enum" => says.as_array().unwrap().contains(value),
            "type" => match says.as_str().unwrap() {
                "object" => value.is_object(),
                "string" => value.is_string(),
                "integer" => value.is_u64() || value.is_i64(),
                "null" => value.is_null(),
                other => panic!("the check does not know the type {other}"),
            },
            "minimum" => !value.is_number() || value.as_u64() >= says.as_u64(),
            "maximum" => !value.is_number() || value.as_u64() <= says.as_u64(),
            "required" => value.as_object().is_none_or(|value| {
                let mut names = says.as_array().unwrap().iter();
                names.all(|name| value.contains_key(name.as_str().unwrap()))
            }),
            "properties" => {
                for (name, schema) in says.as_object().unwrap() {
                    if let Some(value) = value.get(name) {
                        check(value, schema, root).map_err(|why| format!("{name}: {why}"))?;
                    }
                }
                true
            }
            "additionalProperties" => {
                assert_eq!(*says, json!(false));
                let known = schema["properties"].as_object().unwrap();
                value.as_object().is_none_or(|value| value.keys().all(|n| known.contains_key(n)))
            }
            "oneOf" | "anyOf" => {
                let fits = |schema: &&Value| check(value, schema, root).is_ok();
                let count = says.as_array().unwrap().iter().filter(fits).count();
                count == 1 || (count > 1 && word == "anyOf")
            }
            other => panic!("the check does not know {other:?}"),
        };
        if !holds {
            return Err(format!("{value} does not fit {word} {says}"));
        }
    }
    Ok(())
}

#[test]
fn a_whole_run_keeps_to_the_schema() {
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    for line in bytes_of(everything()).split(|&byte| byte == b'\n').filter(|line| !line.is_empty())
    {
        let line: Value = serde_json::from_slice(line).unwrap();
        check(&line, &schema, &schema).unwrap_or_else(|why| panic!("{line}: {why}"));
    }
}

#[test]
fn the_schema_refuses_what_it_should() {
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    let good = json!({"seq": 1, "t_ns": 2, "kind": "wake", "task": 3, "by": {"timer": 4}});
    assert_eq!(check(&good, &schema, &schema), Ok(()));
    let changed = |name: &str, value: Value| {
        let mut line: Map<String, Value> = good.as_object().unwrap().clone();
        line.insert(name.to_string(), value);
        check(&Value::Object(line), &schema, &schema)
    };
    for (name, value) in [
        ("task", json!(-1)),
        ("task", json!("3")),
        ("task", json!(1_u64 << 32)),
        ("by", json!("timer")),
        ("by", json!({"timer": 4, "task": 3})),
        ("kind", json!("teleport")),
        ("more", json!(1)),
    ] {
        assert!(changed(name, value.clone()).is_err(), "{name}: {value}");
    }
    let unknown = Unknown { kind: "teleport".into(), fields: Map::new() };
    let entry = Entry { seq: 0, t: Duration::ZERO, event: Event::Unknown(Box::new(unknown)) };
    assert!(check(&serde_json::to_value(entry).unwrap(), &schema, &schema).is_err());
}

// ===== a trace of the whole process =============================================================

/// In the test itself: runs it again as a child that is traced to `file`. In the child: `None`.
fn traced(test: &str, file: &Path) -> Option<String> {
    if env::var_os("POPLEFT_TRACE").is_some() {
        return None;
    }
    let output = Command::new(env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env("POPLEFT_TRACE", file)
        .output()
        .unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{stdout}\n{stderr}");
    assert!(stdout.contains("1 passed"), "{stdout}");
    Some(stderr)
}

fn names_of(files: &[PathBuf]) -> Vec<String> {
    let name = |file: &PathBuf| {
        hold_to_the_laws(&read_all(file));
        record::read(file).unwrap().header().runtime.clone()
    };
    files.iter().map(name).collect()
}

#[test]
fn the_environment_records_every_runtime_to_a_file_of_its_own() {
    let folder = Folder::new();
    let files = ["t.jsonl", "t.jsonl.2", "t.jsonl.3"].map(|name| folder.file(name));
    // What was there before, and is longer, is gone.
    fs::write(&files[0], "x".repeat(1_000_000)).unwrap();
    let test = "the_environment_records_every_runtime_to_a_file_of_its_own";
    if let Some(stderr) = traced(test, &files[0]) {
        assert_eq!(complaints(&stderr), [""; 0]);
        assert_eq!(names_of(&files), ["main", "second", "third"]);
        assert!(!folder.file("t.jsonl.4").exists());
        return;
    }
    popleft::run(everything());
    let second = Runtime::builder().name("second").build().unwrap();
    let third = Runtime::builder().name("third").build().unwrap();
    third.block_on(async {});
    second.block_on(sleep(Duration::from_millis(1)));
}

#[test]
fn a_file_to_which_another_process_records_is_left_alone() {
    let folder = Folder::new();
    let files = ["t.jsonl", "t.jsonl.2"].map(|name| folder.file(name));
    let test = "a_file_to_which_another_process_records_is_left_alone";
    if env::var_os("POPLEFT_TRACE").is_some() {
        popleft::run(async {});
        return Runtime::builder().name("second").build().unwrap().block_on(async {});
    }
    // This process writes to the first one, as long as it holds it open.
    let ours = fs::File::create(&files[0]).unwrap();
    flock(&ours, FlockOperation::NonBlockingLockExclusive).unwrap();
    io::Write::write_all(&mut &ours, b"ours").unwrap();
    let stderr = traced(test, &files[0]).expect("a child");
    assert_eq!(fs::read(&files[0]).unwrap(), b"ours");
    // The child has files of its own, and has said so.
    let own = files_but(&folder, &["t.jsonl"]);
    assert_eq!(names_of(&own), ["main", "second"]);
    assert_eq!(numbered(&own[0]), own[1]);
    let number: u32 = own[0].extension().unwrap().to_str().unwrap().parse().unwrap();
    assert_eq!(own[0], folder.file(&format!("t.jsonl.{number}")));
    let said = format!(
        "popleft: another process records to {}; this one records to {}",
        files[0].display(),
        own[0].display()
    );
    assert_eq!(complaints(&stderr), [said]);
    drop(ours);
    // Nobody has it any more: the next process begins with the first.
    let stderr = traced(test, &files[0]).expect("a child");
    assert_eq!(names_of(&files), ["main", "second"]);
    assert_eq!(complaints(&stderr), [""; 0]);
}

fn numbered(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_os_string();
    name.push(".2");
    name.into()
}

/// The other files of the folder, by name.
fn files_but(folder: &Folder, known: &[&str]) -> Vec<PathBuf> {
    let all = fs::read_dir(folder.file("")).unwrap().map(|entry| entry.unwrap());
    let mut others: Vec<_> = all
        .filter(|entry| !known.contains(&entry.file_name().to_str().unwrap()))
        .map(|entry| entry.path())
        .collect();
    others.sort();
    others
}

#[test]
fn a_child_never_writes_over_what_its_parent_has_recorded() {
    let test = "a_child_never_writes_over_what_its_parent_has_recorded";
    let folder = Folder::new();
    let file = folder.file("t.jsonl");
    if let Some(stderr) = traced(test, &file) {
        assert_eq!(complaints(&stderr).len(), 1, "{stderr}");
        // The parent's two runtimes, and the two of the child that ran between them.
        assert_eq!(names_of(&[file.clone(), folder.file("t.jsonl.2")]), ["parent", "parent again"]);
        let others = files_but(&folder, &["t.jsonl", "t.jsonl.2"]);
        assert_eq!(names_of(&others), ["child", "child again"]);
        return;
    }
    let run = |name: &str| Runtime::builder().name(name).build().unwrap().block_on(yield_now());
    let is_child = "POPLEFT_TEST_IS_THE_CHILD";
    if env::var_os(is_child).is_some() {
        run("child");
        run("child again");
        return;
    }
    run("parent");
    // The runtime is gone, and its file is whole. The child has the same environment.
    let child = Command::new(env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(is_child, "1")
        .status()
        .unwrap();
    assert!(child.success());
    run("parent again");
}

#[test]
fn the_number_of_the_process_can_be_part_of_the_name() {
    let test = "the_number_of_the_process_can_be_part_of_the_name";
    let folder = Folder::new();
    if let Some(stderr) = traced(test, &folder.file("%p-t%p.%n.jsonl%")) {
        assert_eq!(complaints(&stderr), [""; 0]);
        let [one, two] = &files_but(&folder, &[])[..] else {
            panic!("{:?}", files_but(&folder, &[]))
        };
        assert_eq!(names_of(&[one.clone(), two.clone()]), ["main", "second"]);
        let name = one.file_name().unwrap().to_str().unwrap();
        let (number, _) = name.split_once('-').unwrap();
        assert!(number.parse::<u32>().is_ok(), "{name}");
        assert_eq!(name, format!("{number}-t{number}.%n.jsonl%"));
        assert_eq!(numbered(one), *two);
        return;
    }
    popleft::run(async {});
    Runtime::builder().name("second").build().unwrap().block_on(async {});
}

#[test]
fn to_ask_for_the_same_recording_twice_changes_nothing() {
    let test = "to_ask_for_the_same_recording_twice_changes_nothing";
    if let Some(stderr) = child::stderr_of(test) {
        assert_eq!(complaints(&stderr), [""; 0]);
        return;
    }
    let folder = Folder::new();
    let [first, second, other] = ["t", "t.2", "other"].map(|name| folder.file(name));
    for name in ["one", "two"] {
        record::record_all(&first).unwrap();
        Runtime::builder().name(name).build().unwrap().block_on(async {});
    }
    record::record_all(&other).unwrap();
    Runtime::builder().name("three").build().unwrap().block_on(async {});
    assert_eq!(names_of(&[first, second, other]), ["one", "two", "three"]);
}

#[test]
fn a_program_can_have_all_its_runtimes_recorded() {
    if let Some(stderr) = child::stderr_of("a_program_can_have_all_its_runtimes_recorded") {
        assert_eq!(complaints(&stderr), [""; 0]);
        return;
    }
    let folder = Folder::new();
    assert!(record::record_all("/nowhere/t.jsonl").is_err());
    let files = ["t", "t.2", "t.3"].map(|name| folder.file(name));
    record::record_all(&files[0]).unwrap();
    assert!(files[0].exists(), "it is there before the first runtime");
    let numbers = popleft::cores(3, |core| async move { io::Result::Ok(core.number()) });
    assert_eq!(numbers.unwrap(), [0, 1, 2]);
    let mut names = names_of(&files);
    names.sort();
    assert_eq!(names, ["core-0", "core-1", "core-2"]);
}

#[test]
fn a_trace_that_cannot_be_written_is_a_message_and_no_more() {
    let file = Path::new("/nowhere/t.jsonl");
    if let Some(stderr) = traced("a_trace_that_cannot_be_written_is_a_message_and_no_more", file) {
        let expected = "popleft: cannot record to /nowhere/t.jsonl (POPLEFT_TRACE): \
                        No such file or directory (os error 2)";
        assert_eq!(complaints(&stderr), [expected]);
        return;
    }
    popleft::run(async {});
    popleft::run(async {});
}

#[test]
#[cfg(target_os = "linux")]
fn a_trace_into_a_device_records_the_first_runtime_only() {
    let full = Path::new("/dev/full");
    if let Some(stderr) = traced("a_trace_into_a_device_records_the_first_runtime_only", full) {
        let said = complaints(&stderr);
        assert_eq!(said.len(), 1, "{stderr}");
        assert!(said[0].contains("No space left on device"), "{stderr}");
        return;
    }
    popleft::run(everything());
    popleft::run(async {});
    assert!(!Path::new("/dev/full.2").exists());
}
