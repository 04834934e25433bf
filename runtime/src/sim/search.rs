//! The search through all schedules: depth-first, one run after the other.
//!
//! The runs form a tree: a node is a moment when a task is chosen, a branch is the task. Each run
//! goes down the path of the one before as far as its last node with a branch left to try, takes
//! that branch, and from there on the first branch everywhere. Only the one path is kept.
//!
//! Schedules that differ only in the order of independent steps are skipped with *sleep sets*
//! (Godefroid, 1990). When the branch of a task has been searched, the task is put to sleep for
//! the branches beside it, and stays asleep in them until a step comes that depends on the step
//! that it would take. Whatever a sleeping task could do has been seen, so no node lets it go. A
//! path on which every ready task is asleep is given up.

use std::collections::VecDeque;

use super::shared::{Declared, Step, take_step};
use crate::task::Id;

/// The path, and where on it the present run is.
#[derive(Default)]
pub(super) struct Search {
    path: Vec<Node>,
    /// How many nodes of the path the present run has passed.
    depth: usize,
    /// Which steps can be seen through, if equivalent schedules are skipped.
    skipping: Option<Declared>,
    /// A task is taking the step that was chosen last.
    in_step: bool,
    /// How many tasks were chosen in the present run, also where there was no choice.
    turns: usize,
    /// The steps of so many nodes are known from the run before: they have to be the same again.
    known_steps: usize,
}

/// A moment when a task was chosen.
struct Node {
    /// How many turns had been taken before.
    turn: usize,
    /// How many tasks were ready, and which of them is tried now.
    of: usize,
    taken: usize,
    /// Only when skipping: the ready tasks, and those that are asleep here.
    ready: Vec<Id>,
    asleep: Vec<(Id, Step)>,
    /// What the task that is tried did in its step.
    step: Step,
}

/// What the search says to a run that asks for the next task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Advice {
    Take(usize),
    /// All that could come has been seen.
    GiveUp,
    /// A task has used other data in the turn before than in the run before, after the same choices.
    NotTheSame,
}

impl Search {
    pub(super) fn new(skipping: Option<Declared>) -> Self {
        Search { skipping, ..Search::default() }
    }

    pub(super) fn is_skipping(&self) -> bool {
        self.skipping.is_some()
    }

    /// The next run takes the branch that is to be tried. So many turns of it are known.
    pub(super) fn begin_run(&mut self) -> usize {
        self.start_over();
        self.known_steps = self.path.len().saturating_sub(1);
        self.path.last().map_or(0, |node| node.turn + 1)
    }

    /// The next run makes the choices of the last one again.
    pub(super) fn begin_repeat(&mut self) {
        self.end_path();
        self.start_over();
        self.known_steps = self.path.len();
    }

    fn start_over(&mut self) {
        (self.depth, self.turns, self.in_step) = (0, 0, false);
    }

    /// How many turns of the present run are over.
    pub(super) fn turns_taken(&self) -> usize {
        self.turns - 1
    }

    /// Which of the ready tasks has its turn.
    #[inline]
    pub(super) fn choose(&mut self, ready: &VecDeque<Id>) -> Advice {
        self.turns += 1;
        if self.skipping.is_none() && ready.len() == 1 {
            return Advice::Take(0);
        }
        if !self.end_step() {
            return Advice::NotTheSame;
        }
        let taken = match self.path.get(self.depth) {
            Some(node) => {
                debug_assert_eq!(node.of, ready.len(), "the trail knows how many were ready");
                node.taken
            }
            None => match self.new_node(ready) {
                Some(taken) => taken,
                None => return Advice::GiveUp,
            },
        };
        self.depth += 1;
        self.in_step = true;
        Advice::Take(taken)
    }

    /// Goes where no run has been. `None` when all that is ready is asleep.
    fn new_node(&mut self, ready: &VecDeque<Id>) -> Option<usize> {
        let mut node = Node {
            turn: self.turns - 1,
            of: ready.len(),
            taken: 0,
            ready: vec![],
            asleep: vec![],
            step: Step::default(),
        };
        if self.skipping.is_some() {
            node.ready.extend(ready);
            if let Some(parent) = self.path.last() {
                let sleeps_on = |(_, step): &&(Id, Step)| step.is_independent_of(&parent.step);
                node.asleep.extend(parent.asleep.iter().filter(sleeps_on).cloned());
            }
            node.taken = node.first_awake(0)?;
        }
        let taken = node.taken;
        self.path.push(node);
        Some(taken)
    }

    /// The step that was chosen last is over. False when it is known and was another one.
    fn end_step(&mut self) -> bool {
        let Some(declared) = self.skipping else {
            return true;
        };
        let step = take_step(declared);
        if !std::mem::take(&mut self.in_step) {
            return true;
        }
        let is_known = self.depth <= self.known_steps;
        let before = std::mem::replace(&mut self.path[self.depth - 1].step, step);
        !is_known || before == self.path[self.depth - 1].step
    }

    /// The run is over: its path ends here.
    fn end_path(&mut self) {
        if self.in_step {
            // With this step the run has ended, and with it all that others might still have done.
            self.path[self.depth - 1].step = Step::default();
        }
        self.path.truncate(self.depth);
    }

    /// The run is over. False when there is nothing left to try.
    pub(super) fn end_run(&mut self) -> bool {
        self.end_path();
        while let Some(node) = self.path.last_mut() {
            if node.try_next(self.skipping.is_some()) {
                return true;
            }
            self.path.pop();
        }
        false
    }
}

impl Node {
    fn first_awake(&self, from: usize) -> Option<usize> {
        let is_awake = |task: &Id| !self.asleep.iter().any(|(asleep, _)| asleep == task);
        (from..self.ready.len()).find(|&at| is_awake(&self.ready[at]))
    }

    fn try_next(&mut self, skipping: bool) -> bool {
        let next = if skipping {
            let step = std::mem::take(&mut self.step);
            self.asleep.push((self.ready[self.taken], step));
            self.first_awake(self.taken + 1)
        } else {
            Some(self.taken + 1).filter(|&next| next < self.of)
        };
        if let Some(next) = next {
            self.taken = next;
        }
        next.is_some()
    }
}
