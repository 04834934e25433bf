//! A schedule: which of the ready tasks went next, wherever there was a choice.

use std::error::Error;
use std::fmt;
use std::str::FromStr;

/// Which task had its turn, at each moment when more than one was ready.
///
/// Each number is an index into the ready tasks, in the order in which they became ready: 0 is the
/// one that has waited longest, which the real loop would take. Where a schedule ends, 0 is taken;
/// so the empty schedule is the real loop's order. A schedule that names a task that is not there,
/// or holds more choices than the run has, does not fit the program, and the run
/// [says so](crate::sim::FailureKind::ScheduleMismatch).
///
/// It prints and parses as `2,0,1`.
///
/// ```
/// use popleft::sim::Schedule;
///
/// let schedule: Schedule = "2,0,1".parse().unwrap();
/// assert_eq!(schedule.choices(), [2, 0, 1]);
/// assert_eq!(schedule.to_string(), "2,0,1");
/// assert_eq!(
///     "2,x".parse::<Schedule>().unwrap_err().to_string(),
///     "\"x\" is no choice: a schedule is a list of numbers like 2,0,1"
/// );
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Schedule {
    choices: Vec<u32>,
}

impl Schedule {
    /// A schedule of these choices.
    pub fn new(choices: impl Into<Vec<u32>>) -> Self {
        Schedule { choices: choices.into() }
    }

    /// The choices, in their order.
    pub fn choices(&self) -> &[u32] {
        &self.choices
    }

    /// Without the choices at the end that would be made anyway.
    pub(super) fn trimmed(mut self) -> Self {
        while self.choices.last() == Some(&0) {
            self.choices.pop();
        }
        self
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, choice) in self.choices.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            write!(f, "{comma}{choice}")?;
        }
        Ok(())
    }
}

/// The text is no schedule; it names the part that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseScheduleError {
    part: String,
}

impl fmt::Display for ParseScheduleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is no choice: a schedule is a list of numbers like 2,0,1", self.part)
    }
}

impl Error for ParseScheduleError {}

impl FromStr for Schedule {
    type Err = ParseScheduleError;

    fn from_str(text: &str) -> Result<Self, ParseScheduleError> {
        if text.trim().is_empty() {
            return Ok(Schedule::default());
        }
        let choice = |part: &str| {
            part.trim().parse().map_err(|_| ParseScheduleError { part: part.trim().to_string() })
        };
        text.split(',').map(choice).collect::<Result<_, _>>().map(|choices| Schedule { choices })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_printed_parses_to_the_same(choices: Vec<u32>) {
            let schedule = Schedule::new(choices);
            prop_assert_eq!(schedule.to_string().parse(), Ok(schedule));
        }
    }

    #[test]
    fn only_choices_that_change_nothing_are_trimmed() {
        assert_eq!(Schedule::new([0, 2, 0, 0]).trimmed(), Schedule::new([0, 2]));
        assert_eq!(Schedule::new([0, 0]).trimmed(), Schedule::default());
    }

    #[test]
    fn a_wrong_text_is_refused() {
        for text in ["a", "1,,2", "1,", "-1", "1.5", "99999999999"] {
            assert!(text.parse::<Schedule>().is_err(), "{text}");
        }
        assert_eq!(" 1, 2 ".parse(), Ok(Schedule::new([1, 2])));
    }
}
