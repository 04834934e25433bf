//! What a run has done, turn by turn, to be held against the next run that is to do the same.
//!
//! A search through all schedules stands on this: after the same choices the program does the same
//! again. A program that asks something that is not simulated (the order of a `HashMap`, a clock of
//! the system, what an earlier run has left in a static) breaks that, and then a search proves
//! nothing. So every turn notes which tasks were ready and what time it was, and a run that departs
//! from what is known stops there.

use std::collections::VecDeque;
use std::time::Duration;

use crate::task::Id;

/// The state in which a task was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Turn {
    /// How many tasks were ready.
    ready: usize,
    /// Which ones, in which order.
    which: u64,
    /// What time it was.
    at: Duration,
}

/// The turns of one run after another.
#[derive(Debug, Default)]
pub(super) struct Trail {
    known: Vec<Turn>,
    /// How many of them the present run has to repeat.
    sure: usize,
    /// It has to repeat them all, and do nothing else.
    is_whole: bool,
    /// How many turns the present run has taken.
    next: usize,
}

impl Trail {
    /// The next run does the same as the last one for so many turns, and then something else.
    pub(super) fn begin_run(&mut self, sure: usize) {
        (self.sure, self.is_whole, self.next) = (sure.min(self.known.len()), false, 0);
    }

    /// The next run does the same as the last one.
    pub(super) fn begin_repeat(&mut self) {
        (self.sure, self.is_whole, self.next) = (self.known.len(), true, 0);
    }

    /// A task is about to be chosen.
    ///
    /// # Errors
    ///
    /// What is not as it was.
    pub(super) fn pass(&mut self, ready: &VecDeque<Id>, at: Duration) -> Result<(), String> {
        let now = Turn { ready: ready.len(), which: fingerprint_of(ready), at };
        let number = self.next + 1;
        match self.known.get(self.next) {
            Some(before) if self.next < self.sure => compare(number, *before, now)?,
            None if self.is_whole => {
                return Err(format!(
                    "one run was over after {} turns, and the next one went on",
                    self.next
                ));
            }
            _ => {
                self.known.truncate(self.next);
                self.known.push(now);
            }
        }
        self.next = number;
        Ok(())
    }

    /// The run is over.
    ///
    /// # Errors
    ///
    /// When it should have gone on.
    pub(super) fn end_run(&mut self) -> Result<(), String> {
        if self.next < self.sure {
            return Err(format!(
                "one run was over after {} turns, and the one before it went on",
                self.next
            ));
        }
        self.known.truncate(self.next);
        Ok(())
    }
}

/// A number that says which tasks stand in which order.
fn fingerprint_of(ready: &VecDeque<Id>) -> u64 {
    // FNV-1a, a number at a time.
    ready.iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, task| {
        (hash ^ u64::from(task.number)).wrapping_mul(0x0100_0000_01b3)
    })
}

fn compare(number: usize, before: Turn, now: Turn) -> Result<(), String> {
    if before.ready != now.ready {
        return Err(format!(
            "the number of ready tasks before turn {number} was {} in one run and {} in the next",
            before.ready, now.ready
        ));
    }
    if before.at != now.at {
        return Err(format!(
            "turn {number} began when {:?} had passed in one run, and {:?} in the next",
            before.at, now.at
        ));
    }
    if before.which != now.which {
        return Err(format!(
            "before turn {number}, as many tasks were ready in one run as in the next ({}), but \
             not the same ones in the same order",
            now.ready
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pass(trail: &mut Trail, tasks: &[u32], seconds: u64) -> Result<(), String> {
        let ready = tasks.iter().map(|&number| Id { index: number, number }).collect();
        trail.pass(&ready, Duration::from_secs(seconds))
    }

    fn trail_of_three_turns() -> Trail {
        let mut trail = Trail::default();
        trail.begin_run(0);
        for (tasks, seconds) in [(&[1, 2][..], 0), (&[2], 0), (&[1], 5)] {
            pass(&mut trail, tasks, seconds).unwrap();
        }
        trail.end_run().unwrap();
        trail
    }

    #[test]
    fn a_run_that_does_the_same_again_passes() {
        let mut trail = trail_of_three_turns();
        trail.begin_repeat();
        for (tasks, seconds) in [(&[1, 2][..], 0), (&[2], 0), (&[1], 5)] {
            pass(&mut trail, tasks, seconds).unwrap();
        }
        trail.end_run().unwrap();
    }

    #[test]
    fn whatever_differs_first_is_named() {
        for (second, complaint) in [
            ((&[2, 3][..], 0), "ready tasks before turn 2 was 1 in one run and 2 in the next"),
            ((&[2][..], 1), "turn 2 began when 0ns had passed in one run, and 1s in the next"),
            ((&[3][..], 0), "but not the same ones in the same order"),
        ] {
            let mut trail = trail_of_three_turns();
            trail.begin_repeat();
            pass(&mut trail, &[1, 2], 0).unwrap();
            let said = pass(&mut trail, second.0, second.1).unwrap_err();
            assert!(said.contains(complaint), "{said}");
        }
    }

    #[test]
    fn a_repeat_is_neither_shorter_nor_longer() {
        let mut trail = trail_of_three_turns();
        trail.begin_repeat();
        pass(&mut trail, &[1, 2], 0).unwrap();
        assert!(trail.end_run().unwrap_err().contains("over after 1 turns"));
        let mut trail = trail_of_three_turns();
        trail.begin_repeat();
        for (tasks, seconds) in [(&[1, 2][..], 0), (&[2], 0), (&[1], 5)] {
            pass(&mut trail, tasks, seconds).unwrap();
        }
        assert!(pass(&mut trail, &[1], 5).unwrap_err().contains("over after 3 turns"));
    }

    #[test]
    fn after_the_turns_that_are_sure_a_run_may_do_anything() {
        let mut trail = trail_of_three_turns();
        trail.begin_run(1);
        pass(&mut trail, &[1, 2], 0).unwrap();
        pass(&mut trail, &[1], 7).unwrap();
        trail.end_run().unwrap();
        // And that is what the next one is held against.
        trail.begin_repeat();
        pass(&mut trail, &[1, 2], 0).unwrap();
        assert!(pass(&mut trail, &[2], 0).is_err());
    }
}
